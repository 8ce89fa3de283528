"""Serves a model with llama.cpp's own HTTP server: llama_server.py MODEL.gguf PORT [emb]."""

import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
params.n_ctx = 4096
params.n_parallel = 4
params.cpuparams.n_threads = 2
params.endpoint_metrics = True
params.use_jinja = True
if "emb" in sys.argv[3:]:
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
server = xllamacpp.Server(params)
print("listening", params.port, flush=True)
threading.Event().wait()
