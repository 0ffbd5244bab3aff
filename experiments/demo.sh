#!/bin/sh
# Train on the bundled digits and on drawn faces, and draw one of each kind of picture. No network. `make demo` runs it.
set -eu
genkit=${GENKIT:-genkit}
out=${OUT:-demo}

digits=$("$genkit" train vae --config experiments/demo-digits.toml --out "$out/runs")
"$genkit" sample "$digits" --out "$out/digits"
"$genkit" sample "$digits" --interpolate --images 12,177,240,388 --out "$out/digits"
"$genkit" sample "$digits" --reconstruct --out "$out/digits"
"$genkit" embed "$digits" --method tsne --thumbnails --out "$out/digits"

faces=$("$genkit" train vae --config experiments/demo-faces.toml --out "$out/runs")
"$genkit" sample "$faces" --arithmetic "male&glasses - male&!glasses + !male&!glasses" --exemplars 16 --out "$out/faces"

echo
echo "The pictures are in $out/digits and $out/faces, and the runs in $out/runs."
