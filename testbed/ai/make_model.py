"""Writes a llama model of random weights and one token a byte: make_model.py OUT.gguf.

It answers nonsense, but through all of a real server's code: templates, sampling, streaming, usage.
"""

import sys

import gguf
import numpy as np

from chat_template import CHAT_TEMPLATE

WIDTH, HIDDEN, LAYERS, HEADS, VOCABULARY = 64, 128, 2, 4, 259

out = gguf.GGUFWriter(sys.argv[1], "llama")
random = np.random.default_rng(7)

out.add_name("tiny-random")
out.add_context_length(4096)
out.add_embedding_length(WIDTH)
out.add_block_count(LAYERS)
out.add_feed_forward_length(HIDDEN)
out.add_head_count(HEADS)
out.add_head_count_kv(HEADS)
out.add_layer_norm_rms_eps(1e-5)
out.add_rope_dimension_count(WIDTH // HEADS)
out.add_file_type(0)
out.add_vocab_size(VOCABULARY)

kind = gguf.TokenType
tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
out.add_tokenizer_model("llama")
out.add_token_list(tokens)
out.add_token_scores([0.0] * VOCABULARY)
out.add_token_types([int(k) for k in kinds])
out.add_unk_token_id(0)
out.add_bos_token_id(1)
out.add_eos_token_id(2)
out.add_add_bos_token(True)
# With a space prefix the grammar sampler refuses to start.
out.add_add_space_prefix(False)
out.add_chat_template(CHAT_TEMPLATE)


def weights(name, *shape):
    out.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))


def ones(name):
    out.add_tensor(name, np.ones(WIDTH, dtype=np.float32))


weights("token_embd.weight", VOCABULARY, WIDTH)
ones("output_norm.weight")
weights("output.weight", VOCABULARY, WIDTH)
for layer in range(LAYERS):
    block = f"blk.{layer}."
    ones(block + "attn_norm.weight")
    ones(block + "ffn_norm.weight")
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        weights(f"{block}{name}.weight", WIDTH, WIDTH)
    weights(block + "ffn_gate.weight", HIDDEN, WIDTH)
    weights(block + "ffn_up.weight", HIDDEN, WIDTH)
    weights(block + "ffn_down.weight", WIDTH, HIDDEN)
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
