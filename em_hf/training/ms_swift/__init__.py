"""What ms-swift loads with `--external_plugins`.

ms-swift puts a plug-in's folder first on the module search path, so nothing else may be placed here.
"""
