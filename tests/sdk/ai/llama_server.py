"""Runs llama.cpp's own HTTP server, an OpenAI-compatible one, on loopback until it is killed.

    python llama_server.py MODEL.gguf PORT [emb]

`emb` serves embeddings instead of chat. It is ready when `GET /health` answers 200. Needs the package `xllamacpp`.
"""

import signal
import sys

import xllamacpp


def main():
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(sys.argv[2])
    parameters.n_ctx = 4096
    parameters.n_parallel = 4
    parameters.cpuparams.n_threads = 2
    parameters.use_jinja = True
    if sys.argv[3:] == ["emb"]:
        parameters.embedding = True
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    server = xllamacpp.Server(parameters)
    print("listening on", server.listening_address, flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
