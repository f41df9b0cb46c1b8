"""One model under one quantizer, scored by every metric: where models, quantizers, corpora and metrics meet."""
