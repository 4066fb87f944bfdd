"""How the models that em-hf ships were made; run from the repository's root."""
