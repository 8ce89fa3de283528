"""Writes a model of half a megabyte with random weights, which llama.cpp's server can run.

    python make_model.py OUT.gguf

Its vocabulary is the 256 bytes, so its answers are any bytes at all: a test of everything that reads streams. The weights
come from a fixed seed: every run writes the same file. Needs the packages `gguf` and `numpy`.
"""

import sys

import gguf
import numpy as np

from chat_template import CHAT_TEMPLATE

EMBEDDING = 64
FEED_FORWARD = 128
LAYERS = 2
HEADS = 4
CONTEXT = 4096
SPECIAL_TOKENS = ["<unk>", "<s>", "</s>"]


def write_parameters(out):
    out.add_name("tiny-random")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(EMBEDDING)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED_FORWARD)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(EMBEDDING // HEADS)
    out.add_file_type(gguf.LlamaFileType.ALL_F32)


def write_tokenizer(out):
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * 256
    tokens = SPECIAL_TOKENS + [f"<0x{byte:02X}>" for byte in range(256)]
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types([int(kind) for kind in kinds])
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(True)
    # With a space prefix the grammar sampler refuses to start.
    out.add_add_space_prefix(False)
    out.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def write_weights(out, vocabulary):
    rng = np.random.default_rng(7)

    def random(name, *shape):
        out.add_tensor(name, (rng.standard_normal(shape) * 0.05).astype(np.float32))

    def ones(name):
        out.add_tensor(name, np.ones(EMBEDDING, dtype=np.float32))

    random("token_embd.weight", vocabulary, EMBEDDING)
    ones("output_norm.weight")
    random("output.weight", vocabulary, EMBEDDING)
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        ones(block + "attn_norm.weight")
        ones(block + "ffn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            random(block + name + ".weight", EMBEDDING, EMBEDDING)
        random(block + "ffn_gate.weight", FEED_FORWARD, EMBEDDING)
        random(block + "ffn_up.weight", FEED_FORWARD, EMBEDDING)
        random(block + "ffn_down.weight", EMBEDDING, FEED_FORWARD)


def main():
    out = gguf.GGUFWriter(sys.argv[1], "llama")
    write_parameters(out)
    write_weights(out, write_tokenizer(out))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


if __name__ == "__main__":
    main()
