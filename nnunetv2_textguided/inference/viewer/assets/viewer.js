// The viewer of a prediction folder. Cases are scripts, because a page opened from disk may load scripts but no data.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const cases = window.PREDICTION.cases;
  const viewer = new niivue.Niivue({
    backColor: [0, 0, 0, 1],
    crosshairWidth: 0,
    dragAndDropEnabled: false,
    isRadiologicalConvention: true,
    loadingText: "",
    multiplanarShowRender: 0,
    show3Dcrosshair: false,
  });
  const loading = new Map();
  let shown = null;
  let predicted = null; // the model's mask: what is marked without a threshold

  // What is shown is in the address after "#", so that it can be linked to.
  const view = { channel: "", slice: 0, mask: 0.3, heatmap: 0.5, planes: 0, threshold: 0, sentence: 0, without: 0,
                 ...fromAddress() };

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
                     probability: { colormap: "gray", opacity: 0 },
                     sentence: { colormap: "winter", cal_min: 64, cal_max: 255 },
                     without: { colormap: "blue", cal_min: 0.5, cal_max: 1.5 },
                     mask: { colormap: "red", cal_min: 0.5, cal_max: 1.5 } }[layer.kind];
      volumes.push(await niivue.NVImage.loadFromBase64({ base64: layer.data, name: `${layer.name}.nii.gz`, ...look }));
    }
    while (viewer.volumes.length) viewer.removeVolumeByIndex(viewer.volumes.length - 1);
    volumes.forEach((volume) => viewer.addVolume(volume));
    const changed = shown?.name !== name;
    const first = shown === null;
    shown = content;
    predicted = volumes[indexOf("mask")].img.slice();
    build(content);
    mark();
    if (!first && changed) view.slice = 0;
    if (!view.slice && content.candidates.length) goTo(content.candidates[0]);
    else moveTo(view.slice || Math.ceil(slices() / 2));
    apply();
    $("message").textContent = "";
    document.title = `${name}: predictions`;
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
    goToPoint([-left, -posterior, superior]);
  }

  // The third argument asks for the voxel grid's own fractions. Without it niivue answers for an upright grid, which
  // is another slice wherever the acquisition is tilted.
  function goToPoint(millimetres) {
    viewer.scene.crosshairPos = viewer.mm2frac(millimetres, 0, true);
    viewer.drawScene();
    follow();
  }

  // Mark what reaches the threshold, or the model's own mask, and list it.
  function mark() {
    const mask = viewer.volumes[indexOf("mask")];
    const probability = viewer.volumes[indexOf("probability")].img;
    const level = Math.round(view.threshold * shown.probability_levels);
    for (let i = 0; i < predicted.length; i++) mask.img[i] = level ? Number(probability[i] >= level) : predicted[i];
    viewer.updateGLVolume();
    const spacing = mask.hdr.pixDims.slice(1, 4);
    const millilitres = spacing[0] * spacing[1] * spacing[2] / 1000;
    const lesions = findLesions(mask.img, probability, mask.hdr.dims.slice(1, 4));
    const volume = lesions.reduce((sum, lesion) => sum + lesion.voxels, 0) * millilitres;
    $("threshold").value = view.threshold;
    $("threshold-number").value = level ? view.threshold.toFixed(3) : "off";
    const what = level ? `at probability ${view.threshold.toFixed(3)} or more`
      : `in the predicted mask${shown.threshold ? `, cut at ${shown.threshold}` : ""}`;
    $("lesions").textContent = `${lesions.length} ${lesions.length === 1 ? "lesion" : "lesions"}, ` +
      `${volume.toFixed(2)} mL ${what}`;
    if (level) list(lesions.slice(0, 50).map((lesion, index) => [
      `${index + 1}: peak ${(lesion.peak / shown.probability_levels).toFixed(2)}, ` +
        `${(lesion.voxels * millilitres).toFixed(2)} mL`,
      () => goToPoint(inMillimetres(mask, lesion.centre)),
    ]));
    else list(shown.candidates.map((candidate) => [
      `${candidate.candidate}${candidate.zone ? ` ${candidate.zone}` : ""}: ` +
        `confidence ${candidate.confidence.toFixed(2)}, ` +
        `${candidate.volume_ml.toFixed(2)} mL, ${candidate.diameter_mm.toFixed(0)} mm` +
        (candidate.outside_gland ? ", outside the gland" : "") + (candidate.from_text ? ", from text" : ""),
      () => goTo(candidate),
    ]));
  }

  const inMillimetres = (volume, voxel) =>
    [0, 1, 2].map((row) => [...voxel, 1].reduce((sum, at, column) => sum + volume.hdr.affine[row][column] * at, 0));

  function list(entries) {
    $("candidates").replaceChildren(...entries.map(([text, go]) =>
      Object.assign(document.createElement("button"), { textContent: text, onclick: go })));
    if (!entries.length) $("candidates").textContent = view.threshold ? "Nothing is that probable" : "No candidate";
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
      const chosen = { channel: Number(layer.name === view.channel),
                       sentence: 0.5 * Number(layer.name === `sentence ${view.sentence}`) };
      const opacity = chosen[layer.kind] ?? view[layer.kind] ?? 0;
      if (index > 0) viewer.setOpacity(index, opacity);
    });
    viewer.setSliceType(view.planes ? viewer.sliceTypeMultiplanar : viewer.sliceTypeAxial);
    viewer.opts.crosshairWidth = view.planes ? 1 : 0;
    for (const kind of ["mask", "heatmap", "without"]) {
      $(kind).checked = view[kind] > 0;
      $(`${kind}-opacity`).value = view[kind];
    }
    for (const button of $("sentences").children) {
      button.setAttribute("aria-pressed", Number(button.value) === view.sentence);
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
    $("without-control").hidden = indexOf("without") < 0;
    $("sentences").replaceChildren(...(content.text?.sentences ?? []).map(describe));
    $("title").textContent = content.name;
    $("fitted").hidden = !content.fitted_threshold;
    $("fitted").textContent = `fitted: ${content.fitted_threshold}`;
    $("fitted").onclick = () => { view.threshold = content.fitted_threshold; mark(); remember(); };
    const edits = content.refiner_edits;
    $("edits").hidden = !edits;
    if (edits) $("edits").textContent = `The refiner added ${edits.added} and removed ${edits.removed} voxels.`;
    const remarks = [...(content.remarks ?? [])];
    const unlike = content.unlike_training ?? "unknown";
    if (!/^(no|unknown)\b/.test(unlike)) remarks.unshift(`unlike the training data: ${unlike}`);
    $("remarks").textContent = remarks.join(" · ");
    $("remarks").hidden = !remarks.length;
    for (const button of $("cases").children) button.setAttribute("aria-current", button.value === content.name);
  }

  // What was said, and what it changed; a click shows where the model finds it.
  function describe(one, index) {
    const signed = (value, digits) => `${value < 0 ? "" : "+"}${value.toFixed(digits)}`;
    const button = Object.assign(document.createElement("button"), {
      value: index + 1,
      textContent: `“${one.sentence}”: ${signed(one.volume_change_ml, 2)} mL, likelihood ` +
        signed(one.likelihood_change, 2) + (one.contradicted ? ", the image contradicts it" : "") +
        (one.contradicted === null ? ", found nowhere" : ""),
      onclick: () => { view.sentence = view.sentence === index + 1 ? 0 : index + 1; apply(); },
    });
    if (one.contradicted !== false) button.className = "contradicted";
    return button;
  }

  function fail(error) {
    document.body.dataset.state = "failed";
    $("message").textContent = error.message;
  }

  $("cases").replaceChildren(...cases.map((one) => {
    const button = Object.assign(document.createElement("button"), { value: one.name });
    const image = one.likelihood.toFixed(2), both = one.combined === null ? "" : one.combined.toFixed(2);
    const likelihood = both ? [`${image} · ${both}`, `by the image ${image}; from ${one.from} ${both}`] : [image, image];
    for (const [textContent, title] of [[one.name, one.name], likelihood]) {
      button.append(Object.assign(document.createElement("span"), { textContent, title }));
    }
    button.onclick = () => open(one.name).catch(fail);
    return button;
  }));
  $("slice").oninput = () => moveTo(Number($("slice").value));
  $("threshold").oninput = () => { view.threshold = Number($("threshold").value); mark(); remember(); };
  $("planes").onchange = () => { view.planes = Number($("planes").checked); apply(); };
  for (const [kind, usual] of [["mask", 0.3], ["heatmap", 0.5], ["without", 0.3]]) {
    $(kind).onchange = () => { view[kind] = $(kind).checked ? usual : 0; apply(); };
    $(`${kind}-opacity`).oninput = () => { view[kind] = Number($(`${kind}-opacity`).value); apply(); };
  }
  viewer.onLocationChange = () => { if (shown && viewer.volumes.length) follow(); };
  viewer.attachToCanvas($("canvas"))
    .then(() => (cases.length ? open(view.case || cases[0].name) : Promise.reject(new Error("No case."))))
    .catch(fail);
})();
