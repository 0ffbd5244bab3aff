#!/bin/sh
# Train on the bundled digits and on drawn faces, and draw one of each kind of picture. No network. `make demo` runs it.
set -eu
genkit=${GENKIT:-genkit}
out=${OUT:-demo}

digits=$("$genkit" train vae --config experiments/train/demo-digits.toml --out "$out/runs")
"$genkit" sample "$digits" --out "$out/digits"
"$genkit" sample "$digits" --interpolate --images 0,312,406,187,343 --out "$out/digits"
"$genkit" sample "$digits" --reconstruct --out "$out/digits"
"$genkit" embed "$digits" --method tsne --thumbnails --out "$out/digits"
"$genkit" evaluate "$digits" --only reconstruction,likelihood --k 100 >/dev/null
"$genkit" report "$digits" --out "$out/digits/report.html"

faces=$("$genkit" train vae --config experiments/train/demo-faces.toml --out "$out/runs")
# Glasses, taken from men and given to women. All three terms look to the left, so that no mean looks both ways.
"$genkit" sample "$faces" --exemplars 12 --out "$out/faces" \
    --arithmetic "male&glasses&facing-left - male&!glasses&facing-left + !male&!glasses&facing-left"
"$genkit" report "$faces" --out "$out/faces/report.html"

echo
echo "The pictures are in $out/digits and $out/faces, and the runs in $out/runs."
echo "All of it on one page each: $out/digits/report.html and $out/faces/report.html."
