use super::{Symbols, SymbolsError, ftrace_functions_of};

const TEXT: &[u8] = b"0000000000000000 A fixed_percpu_data\n\
ffffffff81000000 T _stext\n\
ffffffff813a1b20 t __pfx_ep_poll_callback\n\
ffffffff813a1b30 t ep_poll_callback\n\
ffffffff813a1c30 t ep_poll_callback.cold\n\
ffffffff813a2000 t ep_item_poll.isra.0\n\
ffffffff813a2100 t ep_scan_ready_list.constprop.0.isra.1\n\
ffffffff813a2200 t ep_scan_ready_list.constprop.0.cold\n\
ffffffff81a00000 d eventpoll_fops\n\
ffffffff81b00000 t same\n\
ffffffff81b00010 t same\n\
ffffffffc0000000 t same\t[nf_tables]\n";

#[test]
fn keeps_the_wanted_names_and_the_compilers_copies_of_them() {
    let wanted = ["ep_poll_callback", "ep_item_poll", "ep_scan_ready_list", "eventpoll_fops", "same", "ep_absent"];
    let symbols = Symbols::parse(TEXT, &wanted).unwrap();
    assert!(!symbols.addresses_hidden());
    assert_eq!(symbols.total(), 12);
    assert_eq!(symbols.address("ep_poll_callback"), Some(0xffff_ffff_813a_1b30));
    assert_eq!(symbols.variants("ep_poll_callback").count(), 0);
    assert!(symbols.exact("ep_poll_callback").unwrap().is_function());
    assert!(!symbols.exact("eventpoll_fops").unwrap().is_function());
    assert_eq!(symbols.exact("ep_item_poll"), None);
    let copies: Vec<_> = symbols.variants("ep_item_poll").map(super::Symbol::full_name).collect();
    assert_eq!(copies, ["ep_item_poll.isra.0"]);
    let copies: Vec<_> = symbols.variants("ep_scan_ready_list").map(|symbol| symbol.suffix.as_str()).collect();
    assert_eq!(copies, [".constprop.0.isra.1"]);
    let modules: Vec<_> = symbols.named("same").map(|symbol| symbol.module.as_deref()).collect();
    assert_eq!(modules, [None, None, Some("nf_tables")]);
    assert_eq!(symbols.named("ep_absent").count(), 0);
    assert_eq!(symbols.named("_stext").count(), 0);
}

#[test]
fn notices_that_addresses_are_hidden() {
    let text = b"0000000000000000 T _stext\n0000000000000000 t ep_poll_callback\n";
    let symbols = Symbols::parse(text, &["ep_poll_callback"]).unwrap();
    assert!(symbols.addresses_hidden());
    assert!(symbols.exact("ep_poll_callback").is_some());
    assert_eq!(symbols.address("ep_poll_callback"), None);
}

#[test]
fn refuses_what_is_no_list_of_symbols() {
    assert!(matches!(Symbols::parse(b"", &[]), Err(SymbolsError::Empty)));
    for text in ["ffffffff81000000 T a\nhello\n", "ffffffff81000000 T a\n\n", "ffffffff81000000 T a\nzz t x\n"] {
        assert!(matches!(Symbols::parse(text.as_bytes(), &["x"]), Err(SymbolsError::Line { line: 2, .. })), "{text}");
    }
    let endless = vec![b'x'; 100_000];
    let message = Symbols::parse(&endless, &[]).unwrap_err().to_string();
    assert!(message.len() < 200, "{message}");
}

#[test]
fn lists_what_ftrace_can_attach_to() {
    let text = b"ep_poll_callback\nep_item_poll.isra.0\nnft_do_chain [nf_tables]\nother\n";
    let found = ftrace_functions_of(&text[..], &["ep_poll_callback", "ep_item_poll", "nft_do_chain"]).unwrap().unwrap();
    let mut found: Vec<_> = found.iter().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, ["ep_item_poll.isra.0", "ep_poll_callback", "nft_do_chain"]);
    assert!(ftrace_functions_of(&b""[..], &[]).unwrap().is_none());
}

#[test]
fn reads_the_running_kernels() {
    let symbols = Symbols::load(&["ep_poll_callback", "do_epoll_ctl", "ep_item_poll"]).unwrap();
    assert!(symbols.total() > 10_000);
    assert!(symbols.exact("ep_poll_callback").is_some_and(super::Symbol::is_function));
}
