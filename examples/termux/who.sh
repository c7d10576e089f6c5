#!/bin/sh
# Takes a picture with the front camera and says who of the gallery is in it.
# usage: sh who.sh people.db [options of pocketface identify]
set -eu
gallery=${1:?usage: sh who.sh people.db}
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
termux-camera-photo -c 1 "$folder/now.jpg"
pocketface identify "$gallery" "$folder/now.jpg" "$@"
