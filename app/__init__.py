"""The Gradio app: decoding with and without EM-INF side by side, live; a thin layer over `em_hf.generation`."""
