"""The Gradio app: decoding with and without EM-INF side by side, live. Thin over `em_hf.generation`."""
