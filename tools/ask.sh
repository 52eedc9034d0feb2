#!/usr/bin/env bash
# What `make run` prints: what to ask the server that it starts.
cat <<'END'

kubedns serves Corefile.example and the cluster in kubedns/sample on 127.0.0.1:1053. Ask it from another terminal:

    dig @127.0.0.1 -p 1053 kubernetes.default.svc.cluster.local
    dig @127.0.0.1 -p 1053 superopsmsb-nginx-headless.default.svc.cluster.local
    dig @127.0.0.1 -p 1053 -x 10.96.0.10

Ctrl-C stops it.

END
