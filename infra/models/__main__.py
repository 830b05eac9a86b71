"""`make models`: fetch, list and verify the weights of the models file."""

import argparse
import sys
from collections.abc import Callable, Sequence

from infra.models.fetch import Fetched, FetchError, fetch, is_fetched
from infra.models.verify import is_checkable, problems
from shared.checkpoints import Manifest
from shared.config import Settings
from shared.models import Registry


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all went well, 1 when a model has a problem; each is told in a line."""
    asked = _parser().parse_args(arguments)
    settings = Settings.load()
    try:
        registry = Registry.read(settings.models_file, models_dir=settings.models_dir)
        cards = _chosen(registry, asked.ids)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if asked.command == "fetch" and not asked.ids:
        cards = [card for card in cards if card.hub]
    work: Callable[[Fetched], bool] = COMMANDS[asked.command]
    failed = [card for card in cards if not work(card)]
    return 1 if failed else 0


def _chosen(registry: Registry, ids: Sequence[str]) -> list[Fetched]:
    known: dict[str, Fetched] = {card.model_id: card for card in registry}
    if registry.enhancer:
        known[registry.enhancer.model_id] = registry.enhancer
    if unknown := [model_id for model_id in ids if model_id not in known]:
        raise ValueError(f"no model {', '.join(unknown)} in the models file: {', '.join(known)}")
    return [known[model_id] for model_id in ids or known]


def _fetch(card: Fetched) -> bool:
    try:
        new = fetch(card)
    except FetchError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    manifest = Manifest.read(card.source)
    digest = manifest.digest if manifest else ""
    print(f"{card.model_id}: {'fetched' if new else 'already there'}, sha256: {digest}")
    return True


def _list(card: Fetched) -> bool:
    if not card.source.exists():
        state = "missing"
    elif card.hub and not is_fetched(card):
        state = "another revision"
    else:
        state = "here"
    print(f"{card.model_id:32} {card.family:6} {state:17} {card.origin or card.source}")
    return True


def _verify(card: Fetched) -> bool:
    found = problems(card)
    for problem in found:
        print(f"error: {card.model_id}: {problem}", file=sys.stderr)
    if not found:
        said = "as fetched and pinned" if is_checkable(card) else "nothing to compare it with"
        print(f"{card.model_id}: {said}")
    return not found


COMMANDS = {"fetch": _fetch, "list": _list, "verify": _verify}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.models", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("ids", nargs="*", metavar="ID", help="default: all of the models file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
