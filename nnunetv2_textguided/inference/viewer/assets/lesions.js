// Lesions of a probability map on its voxel grid: what the threshold slider counts.
"use strict";
// Marked voxels in 26-connected parts, the most probable first: {voxels, peak, centre}.
// marked: 0 or 1 per voxel; values: what "peak" is taken from; dims: voxels along x, y, z; x runs fastest.
window.findLesions = (marked, values, dims) => {
  const [nx, ny, nz] = dims;
  const seen = new Uint8Array(marked.length);
  const found = [];
  const stack = [];
  for (let start = 0; start < marked.length; start++) {
    if (!marked[start] || seen[start]) continue;
    const lesion = { voxels: 0, peak: 0, centre: [0, 0, 0] };
    seen[start] = 1;
    stack.push(start);
    while (stack.length) {
      const index = stack.pop();
      const at = [index % nx, Math.floor(index / nx) % ny, Math.floor(index / (nx * ny))];
      lesion.voxels++;
      lesion.peak = Math.max(lesion.peak, values[index]);
      at.forEach((position, axis) => { lesion.centre[axis] += position; });
      for (let z = Math.max(at[2] - 1, 0); z <= Math.min(at[2] + 1, nz - 1); z++) {
        for (let y = Math.max(at[1] - 1, 0); y <= Math.min(at[1] + 1, ny - 1); y++) {
          for (let x = Math.max(at[0] - 1, 0); x <= Math.min(at[0] + 1, nx - 1); x++) {
            const next = x + nx * (y + ny * z);
            if (marked[next] && !seen[next]) { seen[next] = 1; stack.push(next); }
          }
        }
      }
    }
    lesion.centre = lesion.centre.map((sum) => sum / lesion.voxels);
    found.push(lesion);
  }
  return found.sort((a, b) => b.peak - a.peak || b.voxels - a.voxels);
};
