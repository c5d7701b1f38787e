// The viewer of a prediction folder. Cases are scripts, because a page opened from disk may load scripts but no data.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const cases = window.PREDICTION.cases;
  const viewer = new niivue.Niivue({
    backColor: [0.05, 0.07, 0.09, 1],
    crosshairWidth: 0,
    dragAndDropEnabled: false,
    isRadiologicalConvention: true,
    loadingText: "",
    multiplanarShowRender: 0,
    show3Dcrosshair: false,
  });
  const loading = new Map();
  let shown = null;

  // What is shown is in the address after "#", so that it can be linked to.
  const view = { channel: "", slice: 0, mask: 0.3, heatmap: 0.5, planes: 0, ...fromAddress() };

  function fromAddress() {
    const found = {};
    for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
      found[key] = key === "case" || key === "channel" ? value : Number(value);
    }
    return found;
  }

  function fetchCase(name) {
    return new Promise((resolve, reject) => {
      loading.set(name, resolve);
      const script = document.createElement("script");
      script.src = `viewer/${encodeURIComponent(name)}.js`;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error(`viewer/${name}.js is missing: was the folder copied as a whole?`));
      document.head.append(script);
    });
  }

  // Called by the case's script.
  window.showPredictedCase = (content) => loading.get(content.name)?.(content);

  async function open(name) {
    document.body.dataset.state = "loading";
    $("message").textContent = `Loading ${name}`;
    view.case = name;
    const content = await fetchCase(name);
    if (view.case !== name) return; // another one was asked for meanwhile
    const volumes = [];
    for (const layer of content.layers) {
      const look = { channel: { colormap: "gray" }, heatmap: { colormap: "warm", cal_min: 13, cal_max: 255 },
                     mask: { colormap: "red", cal_min: 0.5, cal_max: 1.5 } }[layer.kind];
      volumes.push(await niivue.NVImage.loadFromBase64({ base64: layer.data, name: `${layer.name}.nii.gz`, ...look }));
    }
    while (viewer.volumes.length) viewer.removeVolumeByIndex(viewer.volumes.length - 1);
    volumes.forEach((volume) => viewer.addVolume(volume));
    const changed = shown?.name !== name;
    const first = shown === null;
    shown = content;
    build(content);
    if (!first && changed) view.slice = 0;
    if (!view.slice && content.candidates.length) goTo(content.candidates[0]);
    else moveTo(view.slice || Math.ceil(slices() / 2));
    apply();
    $("message").textContent = "";
    document.title = `${name} - predictions`;
    document.body.dataset.case = name;
    document.body.dataset.state = "ready";
  }

  const indexOf = (kind) => shown.layers.findIndex((layer) => layer.kind === kind);
  const slices = () => viewer.volumes[0].dimsRAS[3];

  function moveTo(slice) {
    const [x, y] = viewer.scene.crosshairPos;
    viewer.scene.crosshairPos = [x, y, (Math.min(Math.max(slice, 1), slices()) - 0.5) / slices()];
    viewer.drawScene();
    follow();
  }

  // Candidates are given in DICOM's patient coordinates (left, posterior, superior), niivue wants right and anterior.
  function goTo(candidate) {
    const [left, posterior, superior] = candidate.centroid_lps_mm;
    viewer.scene.crosshairPos = viewer.mm2frac([-left, -posterior, superior]);
    viewer.drawScene();
    follow();
  }

  function follow() {
    view.slice = Math.min(slices(), Math.floor(viewer.scene.crosshairPos[2] * slices()) + 1);
    $("slice").max = slices();
    $("slice").value = view.slice;
    $("slice-number").value = `${view.slice} / ${slices()}`;
    remember();
  }

  function remember() {
    history.replaceState(null, "", `#${new URLSearchParams(view)}`);
  }

  // Channels lie on top of each other, the chosen one opaque; heatmap and mask lie above them.
  function apply() {
    shown.layers.forEach((layer, index) => {
      const opacity = layer.kind === "channel" ? Number(layer.name === view.channel) : view[layer.kind];
      if (index > 0) viewer.setOpacity(index, opacity);
    });
    viewer.setSliceType(view.planes ? viewer.sliceTypeMultiplanar : viewer.sliceTypeAxial);
    viewer.opts.crosshairWidth = view.planes ? 1 : 0;
    for (const kind of ["mask", "heatmap"]) {
      $(kind).checked = view[kind] > 0;
      $(`${kind}-opacity`).value = view[kind];
    }
    $("planes").checked = Boolean(view.planes);
    viewer.drawScene();
    remember();
  }

  function build(content) {
    const names = content.layers.filter((layer) => layer.kind === "channel").map((layer) => layer.name);
    if (!names.includes(view.channel)) view.channel = names[0];
    $("channels").replaceChildren(...names.map((name) => {
      const label = document.createElement("label");
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: "channel", value: name });
      radio.checked = name === view.channel;
      radio.onchange = () => { view.channel = name; apply(); };
      label.append(radio, name);
      return label;
    }));
    $("heatmap-control").hidden = indexOf("heatmap") < 0;
    $("title").textContent = content.name;
    $("candidates").replaceChildren(...content.candidates.map((candidate) => {
      const button = document.createElement("button");
      const zone = candidate.zone ? ` ${candidate.zone}` : "";
      button.textContent = `${candidate.candidate}${zone}: confidence ${candidate.confidence.toFixed(2)}, ` +
        `${candidate.volume_ml.toFixed(2)} mL, ${candidate.diameter_mm.toFixed(0)} mm`;
      button.onclick = () => goTo(candidate);
      return button;
    }));
    if (!content.candidates.length) $("candidates").textContent = "No candidate";
    for (const button of $("cases").children) button.setAttribute("aria-current", button.value === content.name);
  }

  function fail(error) {
    document.body.dataset.state = "failed";
    $("message").textContent = error.message;
  }

  $("cases").replaceChildren(...cases.map((one) => {
    const button = Object.assign(document.createElement("button"), { value: one.name });
    for (const text of [one.name, one.likelihood.toFixed(2)]) {
      button.append(Object.assign(document.createElement("span"), { textContent: text, title: text }));
    }
    button.onclick = () => open(one.name).catch(fail);
    return button;
  }));
  $("slice").oninput = () => moveTo(Number($("slice").value));
  $("planes").onchange = () => { view.planes = Number($("planes").checked); apply(); };
  for (const [kind, usual] of [["mask", 0.3], ["heatmap", 0.5]]) {
    $(kind).onchange = () => { view[kind] = $(kind).checked ? usual : 0; apply(); };
    $(`${kind}-opacity`).oninput = () => { view[kind] = Number($(`${kind}-opacity`).value); apply(); };
  }
  viewer.onLocationChange = () => { if (shown && viewer.volumes.length) follow(); };
  viewer.attachToCanvas($("canvas"))
    .then(() => (cases.length ? open(view.case || cases[0].name) : Promise.reject(new Error("No case."))))
    .catch(fail);
})();
