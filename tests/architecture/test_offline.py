"""Nothing is downloaded or sent: no module speaks to a network, except where processes of one training meet."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "kontrast"
NETWORK = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "huggingface_hub"}
DOWNLOADS = ("load_state_dict_from_url", "download_url_to_file", "hf_hub_download", "urlopen", "urlretrieve")


def test_no_module_speaks_to_a_network():
    found = []
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            found += [f"{path.name}: {name}" for name in names if name.split(".")[0] in NETWORK]
        found += [f"{path.name}: {word}" for word in DOWNLOADS if word in text]
    assert not found
