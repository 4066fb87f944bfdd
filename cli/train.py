import click


@click.command("train")
def command() -> None:
    """(being written)"""
