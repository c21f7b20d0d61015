"""Checks a built site: every link and anchor leads somewhere, every page can be reached, and nothing is loaded from outside.

    python check.py DIRECTORY
"""

import html.parser
import pathlib
import sys
import urllib.parse


class Page(html.parser.HTMLParser):
    """The links, the ids and what the page loads."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.loads = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(given[key] for key in ("id", "name") if given.get(key))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        loaded = given.get("src") or (tag == "link" and "canonical" not in given.get("rel", "") and given.get("href"))
        if loaded:
            self.loads.append(loaded)


def main(root):
    pages = {path: Page(path) for path in root.rglob("*.html")}
    problems, links, leads = [], 0, {path: set() for path in pages}
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links + page.loads:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loads and parts.scheme != "data":
                    problems.append(f"{path.relative_to(root)} loads {link}")
                continue
            links += 1
            to = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if to.is_dir():
                to /= "index.html"
            leads[path].add(to)
            if not to.exists():
                problems.append(f"{path.relative_to(root)}: {link} is not there")
            elif parts.fragment and to in pages and urllib.parse.unquote(parts.fragment) not in pages[to].ids:
                problems.append(f"{path.relative_to(root)}: {link} has no such place")
    reached, waiting = set(), [root / "index.html"]
    while waiting:
        path = waiting.pop()
        if path not in reached and path in pages:
            reached.add(path)
            waiting.extend(leads[path])
    problems += [f"nothing leads to {path.relative_to(root)}: give it a place in tools/site/mkdocs.yml" for path in pages if path not in reached and path.name != "404.html"]
    if not pages:
        problems.append(f"{root} has no pages")
    print("\n".join(sorted(set(problems))) or f"site: {len(pages)} pages, {links} links, all lead somewhere; nothing is loaded from outside")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
