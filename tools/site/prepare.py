"""Writes what the site generator reads: its configuration, docs/, and pages from elsewhere in the repository.

    python prepare.py DIRECTORY

Links in Markdown are written for the repository. Those to pages of the site become links between pages; those to other files lead to
the repository.
"""

import pathlib
import posixpath
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REPOSITORY = "https://github.com/mosel-serve/mosel/blob/main/"

# Pages from outside docs/, by their place in the repository.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security-policy.md",
    "examples/README.md": "examples.md",
    **{f"models/{readme.parent.name}/README.md": f"models/{readme.parent.name}.md" for readme in ROOT.glob("models/*/README.md")},
}
SOURCES = {page: source for source, page in PAGES.items()}

LINK = re.compile(r"(!?\[)((?:[^\[\]]|\[[^\]]*\])*)(\]\()([^)\s]+)(\))")
FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.M | re.S)


def target(link, source, page):
    """The link of a file of the repository as a link of a page of the site."""
    path, mark, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if path in PAGES:
        path = PAGES[path]
    elif path.startswith("docs/"):
        path = path.removeprefix("docs/")
        if (ROOT / "docs" / path).is_dir():
            path += "/README.md"
    else:
        return REPOSITORY + path + mark + anchor
    return posixpath.relpath(path, posixpath.dirname(page) or ".") + mark + anchor


def title(text, link, source):
    """The text of a link; the heading of the page if the text is the name of its file."""
    path = (ROOT / posixpath.dirname(source) / link.partition("#")[0]).resolve()
    if not text.endswith(".md") or text != path.name or not path.is_file():
        return text
    heading = re.search(r"^# (.*)$", path.read_text(encoding="utf-8"), re.M)
    return heading[1] if heading else text


def rewritten(markdown, source, page):
    """A page with the links of the site."""
    parts = FENCE.split(markdown)  # every second one is a block of code
    for i in range(0, len(parts), 2):
        parts[i] = LINK.sub(lambda m: m[1] + title(m[2], m[4], source) + m[3] + target(m[4], source, page) + m[5], parts[i])
    return "".join(parts)


def main(directory):
    shutil.rmtree(directory, ignore_errors=True)
    pages = directory / "pages"
    shutil.copytree(ROOT / "docs", pages)
    shutil.copy(ROOT / "tools/site/site.css", pages)
    shutil.copy(ROOT / "tools/site/mkdocs.yml", directory)
    for source, page in PAGES.items():
        (pages / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / source, pages / page)
    for file in pages.rglob("*.md"):
        page = file.relative_to(pages).as_posix()
        file.write_text(rewritten(file.read_text(encoding="utf-8"), SOURCES.get(page, "docs/" + page), page), encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
