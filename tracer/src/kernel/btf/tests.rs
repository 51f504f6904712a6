use super::{Btf, BtfError, LoadError};
use crate::kernel::testing::{ARRAY, Blob, CONST, FUNC, INT, PTR, STRUCT, TYPE_TAG, TYPEDEF, UNION, own_btf};

/// An anonymous union with an anonymous struct in it, a typedef, a named struct, bitfields of both encodings.
fn sample() -> Blob {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let void_pointer = blob.ty("", PTR, 0);
    let pair = blob.composite(STRUCT, "", 8, &[("daddr", int, 0), ("rcv_saddr", int, 4)]);
    let either = blob.composite(UNION, "", 8, &[("addrpair", void_pointer, 0), ("", pair, 0)]);
    let inner = blob.composite(STRUCT, "inner", 12, &[("file", void_pointer, 0), ("fd", int, 8)]);
    let inner_t = blob.ty("inner_t", TYPEDEF, inner);
    let inner_const = blob.ty("", CONST, inner_t);
    let three_bits = blob.raw("int", INT << 24, 4, &[3]);
    let array = blob.array(int, 4);
    blob.composite(
        STRUCT,
        "outer",
        64,
        &[
            ("", either, 8),
            ("ffd", inner_const, 16),
            ("next", void_pointer, 32),
            ("old_bits", three_bits, 40),
            ("names", array, 44),
        ],
    );
    blob.ty("outer_t", TYPEDEF, 10);
    blob.composite_of_bits(STRUCT << 24 | 1 << 31, "flagged", 8, &[("bits", int, 3 << 24), ("whole", int, 32)]);
    blob
}

#[test]
fn finds_fields_by_dotted_path_through_typedefs_and_anonymous_members() {
    let btf = sample().btf();
    assert_eq!(btf.field_offset("outer", "next"), Ok(32));
    assert_eq!(btf.field_offset("outer", "ffd.fd"), Ok(24));
    assert_eq!(btf.field_offset("outer", "addrpair"), Ok(8));
    assert_eq!(btf.field_offset("outer", "rcv_saddr"), Ok(12));
    assert_eq!(btf.field_offset("outer_t", "rcv_saddr"), Ok(12));
    assert_eq!(btf.field_offset("inner_t", "fd"), Ok(8));
    assert_eq!(btf.field_offset("flagged", "whole"), Ok(4));
    assert_eq!(btf.struct_size("outer"), Ok(64));
    assert_eq!(btf.struct_size("outer_t"), Ok(64));
    assert_eq!(btf.field("outer", "names").unwrap().size, Some(16));
    assert_eq!(btf.field("outer", "ffd").unwrap().size, Some(12));
    assert_eq!(btf.field("outer", "next").unwrap().size, Some(8));
    assert_eq!(btf.member_type_name("outer", "ffd").as_deref(), Ok("const inner_t"));
    assert_eq!(btf.member_type_name("outer", "names").as_deref(), Ok("int[4]"));
}

#[test]
fn says_what_is_missing() {
    let btf = sample().btf();
    let message = |path| btf.field_offset("outer", path).unwrap_err().to_string();
    assert_eq!(message("ovflist_next"), "this kernel's outer has no field ovflist_next");
    assert_eq!(message("ffd.file.f_op"), "outer.ffd.file is no struct, so it has no fields");
    assert_eq!(message("ffd.nothing"), "this kernel's outer.ffd has no field nothing");
    assert_eq!(message("old_bits"), "outer.old_bits is a bitfield");
    for path in ["", ".", "ffd.", ".ffd", "ffd..fd"] {
        assert!(matches!(btf.field_offset("outer", path), Err(BtfError::NoField { .. })), "{path:?}");
    }
    assert_eq!(btf.field_offset("flagged", "bits"), Err(BtfError::Bitfield("flagged.bits".to_owned())));
    assert_eq!(btf.struct_size("absent"), Err(BtfError::NoStruct("absent".to_owned())));
    assert_eq!(btf.field_offset("int", "x"), Err(BtfError::NoStruct("int".to_owned())));
    assert_eq!(btf.function("outer"), Err(BtfError::NoFunction("outer".to_owned())));
}

#[test]
fn structs_of_one_name_must_agree() {
    let mut blob = sample();
    blob.composite(STRUCT, "outer", 64, &[("next", 2, 32), ("other", 1, 4)]);
    let btf = blob.btf();
    assert_eq!(btf.field_offset("outer", "next"), Ok(32));
    assert_eq!(btf.field_offset("outer", "other"), Ok(4));
    blob.composite(STRUCT, "outer", 72, &[("next", 2, 40)]);
    let btf = blob.btf();
    assert!(matches!(btf.field_offset("outer", "next"), Err(BtfError::Ambiguous { .. })));
    assert!(matches!(btf.struct_size("outer"), Err(BtfError::Ambiguous { .. })));
}

#[test]
fn prints_prototypes_as_in_the_source() {
    let mut blob = Blob::new();
    let int = blob.int("int", 4);
    let event = blob.composite(STRUCT, "epoll_event", 12, &[]);
    let tag = blob.ty("user", TYPE_TAG, event);
    let events = blob.ty("", PTR, tag);
    let const_event = blob.ty("", CONST, event);
    let to_const = blob.ty("", PTR, const_event);
    let const_pointer = blob.ty("", CONST, events);
    let callback = blob.prototype(0, &[("", events), ("n", int)]);
    let to_callback = blob.ty("", PTR, callback);
    let array = blob.array(int, 3);
    let const_array = blob.ty("", CONST, array);
    let to_array = blob.ty("", PTR, const_array);
    blob.function("do_wait", int, &[("epfd", int), ("events", events), ("to", to_const)]);
    blob.function("walk", events, &[("actor", to_callback), ("list", to_array), ("last", const_pointer), ("", 0)]);
    blob.function("nothing", 0, &[]);
    let btf = blob.btf();
    let wait = btf.function("do_wait").unwrap();
    assert_eq!(wait.to_string(), "int do_wait(int epfd, struct epoll_event *events, const struct epoll_event *to)");
    assert_eq!(wait.returns, "int");
    assert_eq!(wait.parameters[1].name, "events");
    assert_eq!(wait.parameters[1].c_type, "struct epoll_event *");
    assert_eq!(
        btf.function("walk").unwrap().to_string(),
        "struct epoll_event *walk(void (*actor)(struct epoll_event *, int n), const int (*list)[3], \
         struct epoll_event *const last, ...)"
    );
    assert_eq!(btf.function("nothing").unwrap().to_string(), "void nothing(void)");
    assert_eq!(btf.functions_named("absent"), Ok(vec![]));
}

#[test]
fn a_kind_of_the_future_is_skipped_if_the_btf_says_its_length() {
    let mut blob = Blob::new();
    blob.raw("new", 40 << 24 | 2, 0, &[7, 8, 9]);
    blob.composite(STRUCT, "after", 4, &[]);
    assert_eq!(Btf::parse(blob.bytes()).unwrap_err(), BtfError::UnknownKind { id: 1, kind: 40 });
    let mut kinds = [(0, 0); 41];
    kinds[40] = (4, 4);
    blob.describe_kinds(&kinds);
    assert_eq!(blob.btf().struct_size("after"), Ok(4));
    blob.describe_kinds(&kinds[..40]);
    assert_eq!(Btf::parse(blob.bytes()).unwrap_err(), BtfError::UnknownKind { id: 1, kind: 40 });
}

#[test]
fn refuses_what_is_no_btf() {
    let refused = |bytes: &[u8]| Btf::parse(bytes).unwrap_err();
    let good = sample().bytes();
    let with = |at: usize, byte| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        refused(&bytes)
    };
    assert_eq!(refused(b""), BtfError::Truncated("it has no header"));
    assert_eq!(refused(b"\x7fELF\x02\x01"), BtfError::NotBtf(0x457f));
    assert_eq!(refused(b"\xeb\x9f\x01\x00"), BtfError::BigEndian);
    assert_eq!(with(2, 9), BtfError::Unsupported { what: "version", value: 9 });
    assert_eq!(with(3, 1), BtfError::Unsupported { what: "flags", value: 1 });
    assert_eq!(with(4, 8), BtfError::Malformed("its header is too short"));
    assert_eq!(with(19, 0xff), BtfError::Truncated("a section lies outside of it"));
    let mut no_end = good.clone();
    *no_end.last_mut().unwrap() = b'x';
    assert!(matches!(refused(&no_end), BtfError::Malformed(_)));
    let missing = Btf::load("/nonexistent/btf".as_ref()).unwrap_err();
    assert!(matches!(missing, LoadError::Read { .. }));
    assert_eq!(missing.to_string(), "cannot read BTF from /nonexistent/btf");
}

/// Everything that can be asked, so that a damaged BTF can show a panic or an endless loop.
fn ask_all(btf: &Btf) {
    for name in ["outer", "outer_t", "inner_t", "flagged", "loop", "f", ""] {
        let _ = btf.struct_size(name);
        let _ = btf.functions_named(name);
        for path in ["next", "ffd.fd", "ffd.file", "rcv_saddr", "old_bits", "names", "bits", "absent"] {
            let _ = btf.field(name, path);
            let _ = btf.member_type_name(name, path);
        }
    }
}

#[test]
fn damaged_bytes_are_refused_or_answered_but_never_panic() {
    let mut blob = sample();
    blob.function("f", 2, &[("a", 1), ("b", 11)]);
    let good = blob.bytes();
    for length in 0..good.len() {
        assert!(Btf::parse(&good[..length]).is_err(), "{length} bytes");
    }
    for at in 0..good.len() {
        for byte in [0, 1, 2, 7, 10, 0x7f, 0x80, 0xff, good[at] ^ 1, good[at] ^ 0x10, good[at].wrapping_add(1)] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            if let Ok(btf) = Btf::parse(bytes) {
                ask_all(&btf);
            }
        }
    }
}

#[test]
fn cycles_and_explosions_end() {
    // A typedef of itself, a pointer to itself, an anonymous struct in itself, an array of itself.
    for (kind, rest) in [(TYPEDEF, vec![]), (PTR, vec![]), (CONST, vec![]), (ARRAY, vec![1, 1, 1])] {
        let mut blob = Blob::new();
        blob.raw("loop", kind << 24, 1, &rest);
        blob.composite(STRUCT, "s", 8, &[("member", 1, 0), ("", 1, 0)]);
        blob.function("f", 1, &[("a", 1)]);
        let btf = blob.btf();
        ask_all(&btf);
        if kind != TYPEDEF {
            assert_eq!(btf.declaration(1, ""), Err(BtfError::TooDeep(1)));
            assert_eq!(btf.function("f"), Err(BtfError::TooDeep(1)));
        }
    }
    let mut blob = Blob::new();
    blob.composite(STRUCT, "s", 8, &[("", 1, 0)]);
    assert_eq!(blob.btf().field_offset("s", "x"), Err(BtfError::TooDeep(1)));
    // Each anonymous struct has four of the next: four to the sixteenth members.
    let mut blob = Blob::new();
    for level in 0..16 {
        blob.composite(STRUCT, if level == 0 { "s" } else { "" }, 8, &[("", level + 2, 0); 4]);
    }
    blob.composite(STRUCT, "", 8, &[]);
    assert!(matches!(blob.btf().field_offset("s", "x"), Err(BtfError::TooDeep(_))));
    // Each function takes four pointers to functions that take four pointers ...
    let mut blob = Blob::new();
    for level in 0..12 {
        blob.prototype(0, &[("", 2 * level + 2); 4]);
        blob.ty("", PTR, 2 * level + 3);
    }
    blob.prototype(0, &[]);
    blob.ty("f", FUNC, 1);
    assert_eq!(blob.btf().function("f"), Err(BtfError::Malformed("a prototype is far too long")));
    // A name without an end.
    let mut blob = Blob::new();
    blob.composite(STRUCT, &"x".repeat(600), 8, &[]);
    assert_eq!(Btf::parse(blob.bytes()).unwrap_err(), BtfError::BadName(1));
}

#[test]
fn reduced_btf_names_the_functions_asked_for_at_their_ids_and_no_other() {
    let mut blob = Blob::new();
    blob.int("int", 4);
    let first = blob.function("first", 1, &[("a", 1)]);
    let other = blob.function("other", 1, &[]);
    let second = blob.function("second", 0, &[]);
    let same = blob.function("second", 1, &[]);
    let reduced = Btf::parse(blob.btf().reduced_to(&["second", "first", "first", "none"])).unwrap();
    assert_eq!((reduced.function_id("first"), reduced.function_id("second")), (Some(first), Some(second)));
    assert_eq!((reduced.function_id("other"), reduced.function_id("none")), (None, None));
    assert!(first < other && second < same && reduced.len() == second as usize);
    assert!(Btf::parse(Blob::new().btf().reduced_to(&["none"])).unwrap().is_empty());
}

#[test]
fn the_running_kernel_has_epoll() {
    let Some(btf) = own_btf() else { return };
    assert!(btf.len() > 10_000);
    assert!(matches!(btf.member_type_name("eventpoll", "lock").as_deref(), Ok("spinlock_t" | "rwlock_t")));
    assert_eq!(btf.member_type_name("eventpoll", "ovflist").as_deref(), Ok("struct epitem *"));
    let callback = btf.function("ep_poll_callback").unwrap();
    assert_eq!(
        callback.to_string(),
        "int ep_poll_callback(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)"
    );
    let queue = btf.function("ep_ptable_queue_proc").unwrap();
    assert_eq!(queue.parameters.len(), 3);
    // The last parameter is an int in 5.10, and a time from 5.11 on.
    let wait = btf.function("do_epoll_wait").unwrap().to_string();
    assert!(wait.starts_with("int do_epoll_wait(int epfd, struct epoll_event *events, int maxevents, "), "{wait}");
    // The third part lies in an anonymous union, whose parts are anonymous structs with names (since 6.7).
    let missed = btf.field_offset("bpf_link_info", "perf_event.kprobe.missed");
    assert!(matches!(missed, Ok(48) | Err(BtfError::NoField { .. })), "{missed:?}");
}
