"""python -m ticketing: reads the words of the command line and hands them on; no logic of its own."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while the rest is imported ends it without a traceback

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from ticketing import config
from ticketing.errors import TicketingError

ADD_MAX = 1_000_000  # more is a slip of the hand, and fills the store's memory
AUDIT_TIMEOUT_S = 30.0  # a step of the audit may wait for a busy store


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all is well, 1 if what was checked is not, 2 if it could not be done."""
    options = _parser().parse_args(words)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        code = command(options)
        sys.stdout.flush()
    except TicketingError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is there to be a word at the exit
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ticketing", description="Sells tickets, each of them once.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="start every part on this machine, until Ctrl-C")
    run.add_argument("--dev", action="store_true", help="restart parts when their code changes")
    run.set_defaults(command=_run)
    commands.add_parser("sweep", help="enqueue overdue receipts, until a signal").set_defaults(command=_sweep)
    audit = commands.add_parser("audit", help="check the invariants on the running store; 1 if one is broken")
    audit.add_argument("--receipts", action="store_true", help="every receipt has its file too (none was cleaned up)")
    audit.set_defaults(command=_audit)
    verify = commands.add_parser("verify", help="check a ticket's code, or every code in a PDF")
    verify.add_argument("source", help="the code's text, or the path of a PDF")
    verify.add_argument("--key", action="append", help="a public key; by default the one of this DATA_DIR")
    verify.set_defaults(command=_verify)
    doctor = commands.add_parser("doctor", help="check machine, settings and store before the doors open; 1 on a fail")
    doctor.add_argument("--json", action="store_true", help="for machines")
    doctor.add_argument("--grafana", metavar="URL", help="where Grafana is; by default port 3000 of this machine")
    doctor.set_defaults(command=_doctor)
    _add_events(commands.add_parser("event", help="pause and resume an event's sale, add tickets"))
    receipts = commands.add_parser("receipts", help="have receipts made that failed").add_subparsers(required=True)
    receipts.add_parser("retry", help="failed receipts are due again").set_defaults(command=_retry)
    _add_outage(commands.add_parser("outage", help="look at what an outage has left, settle it, decide about it"))
    commands.add_parser("public-key", help="print the key that a gate needs").set_defaults(command=_public_key)
    return parser


def _add_events(event: argparse.ArgumentParser) -> None:
    verbs = event.add_subparsers(required=True, metavar="VERB")
    pause = verbs.add_parser("pause", help="end the sale, until it is resumed")
    pause.set_defaults(command=_pause)
    resume = verbs.add_parser("resume", help="take up the sale")
    resume.set_defaults(command=_resume)
    add = verbs.add_parser("add", help="issue more tickets, or a wave that was held back")
    add.set_defaults(command=_add)
    for verb in (pause, resume, add):
        verb.add_argument("event_id", metavar="EVENT_ID")
    add.add_argument("tickets", type=int, choices=range(1, ADD_MAX + 1), metavar="TICKETS", help="how many")
    add.add_argument("--issued", type=int, help="how many were issued before: makes it safe to repeat")


def _add_outage(outage: argparse.ArgumentParser) -> None:
    verbs = outage.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("show", help="journals, leases, halted events; what decides them").set_defaults(command=_show)
    verbs.add_parser("settle", help="settle this host's journals that no process holds").set_defaults(command=_settle)
    release = verbs.add_parser("release-host", help="a host is gone for good: all its tickets go back to the pool")
    release.add_argument("host", metavar="HOST", help="its id as `outage show` names it, or how it begins")
    release.set_defaults(command=_release_host)
    resume = verbs.add_parser("resume", help="take halted sales up, once what they lost is put back")
    resume.add_argument("event_ids", metavar="EVENT_ID", nargs="*", help="by default every event that is halted")
    resume.add_argument("--yes", action="store_true", help="also where something is left to put back")
    resume.set_defaults(command=_resume_halted)
    accept = verbs.add_parser("accept", help="decide what no rule can; without --yes only says what that would do")
    kinds = accept.add_subparsers(required=True, metavar="WHAT")
    event = kinds.add_parser("event", help="a halted event: the store as it is now is the truth")
    event.add_argument("event_id", metavar="EVENT_ID")
    event.set_defaults(command=_accept_event)
    lease = kinds.add_parser("lease", help="a holder is lost for good: its tickets go back to the pool")
    lease.add_argument("holder", metavar="HOLDER", help="as `outage show` names it")
    lease.add_argument("--event", metavar="EVENT_ID", help="of this event only")
    lease.set_defaults(command=_accept_lease)
    journal = kinds.add_parser("journal", help="give up what a parked or damaged journal of this host holds")
    journal.add_argument("slot", metavar="slot-N")
    journal.set_defaults(command=_accept_journal)
    for kind in (release, event, lease, journal):
        kind.add_argument("--yes", action="store_true", help="do it")


def _run(options: argparse.Namespace) -> int:
    from ticketing import launch

    return launch.run(config.load(), dev=options.dev)


def _sweep(_: argparse.Namespace) -> int:
    from ticketing.receipts.sweeper import build

    sweeper = build(config.load())
    signal.signal(signal.SIGTERM, sweeper.stop)
    signal.signal(signal.SIGINT, sweeper.stop)
    sweeper.run()
    return 0


def _audit(options: argparse.Namespace) -> int:
    from ticketing.receipts.opening import storage_of
    from ticketing.sale.audit import audit, render
    from ticketing.store.opening import store_of

    settings = config.load()
    store_of(settings, connections=1).ping()  # says soon if nobody answers
    store = store_of(settings, connections=2, timeout_s=AUDIT_TIMEOUT_S)
    report = audit(store, stored=storage_of(settings).has if options.receipts else None)
    Console().print(render(report))
    for sentence in report.sentences():
        print(sentence)
    return 0 if report.ok else 1


def _doctor(options: argparse.Namespace) -> int:
    from ticketing.doctor import command

    return command.run(config.load_as_it_is(), as_json=options.json, grafana=options.grafana)


def _show(_: argparse.Namespace) -> int:
    from ticketing.outage import commands

    return commands.show(config.load())


def _settle(_: argparse.Namespace) -> int:
    from ticketing.outage import commands
    from ticketing.receipts.opening import storage_of
    from ticketing.sale.identity import Identity
    from ticketing.telemetry import logs

    settings = config.load()
    logs.set_up("operator", settings.log_level, settings.log_format)
    return commands.settle(settings, Identity(settings.id_secret).secret_fingerprint, storage_of(settings).delete_all)


def _pause(options: argparse.Namespace) -> int:
    from ticketing import commands

    return commands.pause(config.load(), options.event_id)


def _resume(options: argparse.Namespace) -> int:
    from ticketing import commands

    return commands.resume(config.load(), options.event_id)


def _add(options: argparse.Namespace) -> int:
    from ticketing import commands

    return commands.add(config.load(), options.event_id, options.tickets, options.issued)


def _retry(_: argparse.Namespace) -> int:
    from ticketing import commands

    return commands.retry(config.load())


def _resume_halted(options: argparse.Namespace) -> int:
    from ticketing.outage import commands

    return commands.resume(config.load(), options.event_ids, yes=options.yes)


def _accept_event(options: argparse.Namespace) -> int:
    from ticketing.outage import commands

    return commands.accept_event(config.load(), options.event_id, yes=options.yes)


def _release_host(options: argparse.Namespace) -> int:
    from ticketing.outage import commands

    return commands.release_host(config.load(), options.host, yes=options.yes)


def _accept_lease(options: argparse.Namespace) -> int:
    from ticketing.outage import commands

    return commands.accept_lease(config.load(), options.holder, options.event, yes=options.yes)


def _accept_journal(options: argparse.Namespace) -> int:
    from ticketing.outage import commands

    return commands.accept_journal(config.load(), options.slot, yes=options.yes)


def _verify(options: argparse.Namespace) -> int:
    from ticketing.receipts.seal import Sealer
    from ticketing.receipts.verify import verify

    try:
        keys = options.key or [Sealer(config.present_signing_key()).public_key]
        verdicts = verify(options.source, keys)
    except (TicketingError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    table = Table("ticket", "event", "verdict")
    for verdict in verdicts:
        sealed = verdict.sealed
        table.add_row(
            *(("-", "-", verdict.problem) if sealed is None else (sealed.ticket_id, sealed.event_id, "genuine"))
        )
    Console().print(table)
    return 0 if verdicts and all(verdict.genuine for verdict in verdicts) else 1


def _public_key(_: argparse.Namespace) -> int:
    from ticketing.receipts.seal import Sealer

    print(Sealer(config.load().signing_key).public_key)
    return 0


if __name__ == "__main__":
    sys.exit(main())
