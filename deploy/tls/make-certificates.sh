#!/bin/sh
# Makes an authority for one Dask cluster, and the certificate that its scheduler, workers and drivers show one another:
#   sh make-certificates.sh FOLDER [DAYS]
set -eu
umask 077
mkdir -p "$1"
cd "$1"
days=${2:-365}

# Whoever has ca-key.pem can let others in: keep it off the cluster. Whoever has key.pem is in.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" \
  -subj "/CN=inmf cluster authority" -addext "keyUsage=critical,keyCertSign,cRLSign" \
  -keyout ca-key.pem -out ca.pem
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
  -subj "/CN=inmf cluster" -keyout key.pem -out request.pem
printf 'basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' > extensions.txt
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -set_serial "0x$(openssl rand -hex 16)" \
  -days "$days" -extfile extensions.txt -out cert.pem
rm request.pem extensions.txt
