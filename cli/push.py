import click


@click.command("push")
def command() -> None:
    """(being written)"""
