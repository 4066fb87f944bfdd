"""What ms-swift loads by `--external_plugins`.

It puts a plug-in's folder first among the places that modules are imported from, so nothing else may stand here.
"""
