"""One prompt decoded with and without EM-INF: what the app and `em-hf generate` show."""
