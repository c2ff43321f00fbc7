#!/bin/sh
# The recipe of the segments beside this file: 2 s of ffmpeg's test sources
# (640x360, 30 fps, H.264 and AAC in MPEG-TS) and two renditions of each.
# Usage: examples/media/make.sh [DIRECTORY]
set -eu
cd "${1:-$(dirname "$0")}"
n=0
for source in testsrc2 smptehdbars mandelbrot; do
  n=$((n + 1))
  ffmpeg -v error -y -f lavfi -i "$source=size=640x360:rate=30" \
    -f lavfi -i "sine=frequency=$((n * 220)):sample_rate=48000" -t 2 \
    -c:v libx264 -preset veryfast -b:v 700k -maxrate 800k -bufsize 800k -g 60 -bf 2 \
    -pix_fmt yuv420p -c:a aac -b:a 64k -f mpegts "src$n.ts"
  for rendition in 426x240:250k 256x144:100k; do
    size=${rendition%%:*}
    ffmpeg -v error -y -i "src$n.ts" -s "$size" -c:v libx264 -preset veryfast \
      -b:v "${rendition##*:}" -g 60 -c:a copy -f mpegts "src$n-$size.ts"
  done
done
