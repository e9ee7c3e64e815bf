"""Every way in which a person calls us: commands, the GPU command, the pytest plugin.

Empty, so that neither the plugin nor the GPU command needs typer.
"""
