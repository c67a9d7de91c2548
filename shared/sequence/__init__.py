"""Sequence mixers with a memory: linear attention (gated, with feature maps, with a prefix), the delta rule, and softmax attention as the reference.

Every mixer maps queries, keys and values of shape (batch, heads, time, width) to outputs of that shape, in parallel over time, and hands back its state:

    y, state = linear_attention(q, k, v)                    # prefill
    y, state = linear_attention_step(state, q, k, v)        # one more token, inputs without the time axis

`features` holds feature maps, `linear` and `delta` the recurrent mixers, `softmax` the reference, `recurrence` the loop over steps and the decays.
"""
