"""A notebook as a page of the site: its cells in order, with their stored outputs."""

import base64
import json
import re
from pathlib import Path


def notebook_page(path: Path, folder: Path) -> str:
    """Return a notebook as Markdown, and write its pictures into `folder`, where the page will be.

    Args:
        path: an `.ipynb` file. Links to its neighbours become links to their pages; badges stay.
        folder: under docs/reference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for place, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(site_links(source))
            continue
        parts.append(f"```python\n{source}\n```")
        printed = ""
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{path.stem}-{place}.png"
                (folder / picture).write_bytes(base64.b64decode("".join(data["image/png"])))
                parts.append(f"![The plot of the cell above]({picture})")
            elif output["output_type"] == "stream" and output["name"] == "stdout":
                printed += "".join(output["text"])
        if printed.strip():
            parts.append(f"```text\n{printed.rstrip()}\n```")
    # The badges come first in the notebook; a page begins with its title.
    title = next(i for i, part in enumerate(parts) if re.search(r"^# ", part, flags=re.M))
    head, heading, rest = re.split(r"^(# .*)$", parts[title], maxsplit=1, flags=re.M)
    return "\n\n".join([heading, head.strip(), rest.strip(), *parts[title + 1 :]]) + "\n"


def site_links(text: str) -> str:
    """Return Markdown whose links to notebooks and to docs/ fit the place of the page, reference/examples/."""
    text = re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", text)
    return text.replace("](../docs/", "](../../")
