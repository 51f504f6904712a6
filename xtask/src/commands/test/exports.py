"""Opens what `eptrace export` wrote with the tools it is for, and compares it with the report of the same recording.

In: the README (for its queries) as argument; run.parquet, run.csv, run.jsonl, run.pftrace, report.json and report.text in the
current directory. Out: a line `ok NAME` or `FAILED NAME: WHY` for each test.
"""

import collections
import json
import re
import sys

import duckdb
import pandas
import pyarrow.parquet
from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as perfetto

with open("report.json") as file:
    REPORT = json.load(file)
TOTALS = REPORT["totals"]


def equal(found, expected, what):
    if found != expected:
        raise AssertionError(f"{what}: {found!r} instead of {expected!r}")


def readme_queries():
    """The queries of the README, by the names in their first comments."""
    with open(sys.argv[1]) as file:
        blocks = re.findall(r"```sql\n(.*?)```", file.read(), re.DOTALL)
    return {block.split("\n", 1)[0].removeprefix("-- "): block for block in blocks}


def rows(query):
    return duckdb.sql(query).fetchall()


def duckdb_answers_the_queries_of_the_readme_with_the_numbers_of_the_report():
    queries = readme_queries()
    equal(len(queries), 3, "queries in the README")
    found = {(pid, tid): woken for pid, tid, woken, *_ in rows(queries["who is woken, and what for"]) if woken}
    expected = {(task["pid"], task["tid"]): task["woken"] for task in REPORT["tasks"] if task["woken"]}
    equal(found, expected, "woken")
    returned = sum(row[3] for row in rows(queries["who is woken, and what for"]))
    equal(returned, TOTALS["waits_returned"], "waits that returned events")

    fan_out = rows(queries["how many items does one wakeup of a source call back"])
    equal(sum(row[2] for row in fan_out), TOTALS["callbacks"], "callbacks")
    socket = REPORT["herd"][0]
    listening = [row for row in fan_out if row[2] == socket["called"]["total"]]
    equal([row[1] for row in listening], [socket["wakeups"]], "source wakeups of the listening socket")
    equal([round(row[3], 2) for row in listening], [round(socket["called"]["mean"], 2)], "called per wakeup")

    ends = {end: (waits, events) for end, waits, events in rows(queries["what ends the waits"])}
    equal(ends.get("events", (0, 0)), (TOTALS["waits_returned"], TOTALS["events"]), "waits that returned")
    equal(ends.get("timeout", (0, 0))[0], TOTALS["timeouts"], "timeouts")
    equal(ends.get("interrupted", (0, 0))[0], TOTALS["interrupted"], "interrupted")
    equal(sum(waits for waits, _ in ends.values()), TOTALS["waits"], "waits")


def pandas_reads_the_table_with_its_metadata():
    table = pandas.read_parquet("run.parquet", dtype_backend="pyarrow")
    equal(len(table), REPORT["events"], "rows")
    kinds = table["kind"].astype(str).value_counts()
    equal(int(kinds["callback"]), TOTALS["callbacks"], "callbacks")
    equal(int(kinds["wait-exit"]), TOTALS["waits"], "waits")
    facts = pyarrow.parquet.read_metadata("run.parquet").metadata
    equal(json.loads(facts[b"eptrace.info"])["kernel"], REPORT["kernel"], "kernel")
    equal(facts[b"eptrace.format"], b"1.0", "format")
    equal(b"eptrace.torn" in facts, False, "a tear")


def csv_is_the_same_table_as_parquet():
    typed = "SELECT {} FROM read_csv('run.csv', header = true, all_varchar = true)"
    names = [name for name, *_ in rows("DESCRIBE SELECT * FROM 'run.parquet'")]
    equal([name for name, *_ in rows("DESCRIBE " + typed.format("*"))], names, "columns")
    columns = ", ".join(f'CAST("{name}" AS VARCHAR) AS "{name}"' for name in names)
    here, there = typed.format("*"), f"SELECT {columns} FROM 'run.parquet'"
    equal(rows(f"SELECT count(*) FROM ({here} EXCEPT ALL {there})"), [(0,)], "rows that only CSV has")
    equal(rows(f"SELECT count(*) FROM ({there} EXCEPT ALL {here})"), [(0,)], "rows that only Parquet has")


def json_lines_say_what_the_report_says():
    with open("run.jsonl") as file:
        events = [json.loads(line) for line in file]
    equal(len(events), REPORT["events"], "lines")
    count = collections.Counter(event["event"] for event in events)
    equal(count["callback"], TOTALS["callbacks"], "callbacks")
    equal(sum(event["ret"] for event in events if event["event"] == "wait-exit" and event["ret"] > 0), TOTALS["events"], "events")
    woken = sum(1 for event in events if event["event"] == "wake" and not event["already_running"])
    equal(woken, TOTALS["woken"], "woken")


def the_text_report_has_the_same_numbers():
    with open("report.text") as file:
        text = file.read()
    socket = REPORT["herd"][0]
    for name in ("called", "woken", "returned", "useful", "wasted"):
        found = re.search(rf"^ {name} +(\d+) ", text, re.MULTILINE)
        equal(found and int(found.group(1)), socket[name]["total"], name)


def no_unknown_fields(message):
    """Every field that was written is one that Perfetto's published messages know."""
    equal(len(UnknownFieldSet(message)), 0, f"unknown fields of {message.DESCRIPTOR.name}")
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in value if field.is_repeated else [value]:
            no_unknown_fields(part)


def args(event):
    return {arg.name: getattr(arg, arg.WhichOneof("value")) for arg in event.debug_annotations}


def perfetto_decodes_the_timeline_with_the_messages_it_publishes():
    trace = perfetto.Trace()
    with open("run.pftrace", "rb") as file:
        trace.ParseFromString(file.read())
    for packet in trace.packet:
        no_unknown_fields(packet)
    kinds = collections.Counter(packet.WhichOneof("data") for packet in trace.packet)
    equal(set(kinds), {"clock_snapshot", "track_descriptor", "track_event"}, "packets")
    described = {packet.track_descriptor.uuid for packet in trace.packet if packet.HasField("track_descriptor")}
    timed = [(packet.timestamp, packet.track_event) for packet in trace.packet if packet.HasField("track_event")]
    events = [event for _, event in sorted(timed, key=lambda pair: pair[0])]
    equal({event.track_uuid for event in events} - described, set(), "tracks that were not described")

    begun = [event for event in events if event.type == perfetto.TrackEvent.TYPE_SLICE_BEGIN]
    ended = [event for event in events if event.type == perfetto.TrackEvent.TYPE_SLICE_END]
    equal(len(ended), TOTALS["waits"], "waits")
    equal(len(begun), TOTALS["waits"] + TOTALS["waits_open"], "waits that began")
    returned = [event for event in begun if event.name == "epoll_wait: events"]
    equal(len(returned), TOTALS["waits_returned"], "waits that returned")
    equal(sum(args(event)["ret"] for event in returned), TOTALS["events"], "events")
    equal(sum(1 for event in events if event.name == "woken"), TOTALS["woken"], "woken")
    equal(sum(1 for event in events if event.name.startswith("callback fd ")), TOTALS["callbacks"], "callbacks")
    equal(sum(1 for event in events if event.name.startswith("LOST")), REPORT["lost"]["events"], "losses")

    arrows = collections.defaultdict(list)
    for event in events:
        for flow in [*event.flow_ids, *event.terminating_flow_ids]:
            arrows[flow].append(event.name.split()[0])
    through = collections.Counter(tuple(names) for names in arrows.values())
    equal(through[("callback", "woken", "returns")] > 0, True, "arrows from callback to woken to return")
    strange = {names for names in through if names[0] not in ("callback", "wakes")}
    equal(strange, set(), "arrows that begin elsewhere")


def main():
    failed = False
    for test in (
        duckdb_answers_the_queries_of_the_readme_with_the_numbers_of_the_report,
        pandas_reads_the_table_with_its_metadata,
        csv_is_the_same_table_as_parquet,
        json_lines_say_what_the_report_says,
        the_text_report_has_the_same_numbers,
        perfetto_decodes_the_timeline_with_the_messages_it_publishes,
    ):
        name = test.__name__.replace("_", " ")
        try:
            test()
            print(f"ok {name}")
        except Exception as error:  # noqa: BLE001: every failure is a line
            failed = True
            print(f"FAILED {name}: {type(error).__name__}: {error}")
    sys.exit(1 if failed else 0)


main()
