import click


@click.command("generate")
def command() -> None:
    """(being written)"""
