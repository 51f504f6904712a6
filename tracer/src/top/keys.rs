//! What a key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Action;

/// What a key asks for; `typing` while a filter is typed.
#[must_use]
pub fn action(key: &KeyEvent, typing: bool) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('u') if typing => Some(Action::ClearFilter),
            _ => None,
        };
    }
    if typing {
        return match key.code {
            KeyCode::Char(c) => Some(Action::Type(c)),
            KeyCode::Backspace => Some(Action::Untype),
            KeyCode::Enter => Some(Action::KeepFilter),
            KeyCode::Esc => Some(Action::ClearFilter),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Action::Quit,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('s') => Action::NextSort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('/') => Action::StartFilter,
        KeyCode::Char('t') => Action::Tasks,
        KeyCode::Char('?' | 'h') => Action::Help,
        KeyCode::Enter | KeyCode::Right | KeyCode::Char('i') => Action::Items,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Action::Back,
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::PageUp => Action::Move(-10),
        KeyCode::PageDown => Action::Move(10),
        KeyCode::Home | KeyCode::Char('g') => Action::Move(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => Action::Move(isize::MAX),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

    use super::action;
    use crate::top::Action;

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn letters_are_commands_except_while_a_filter_is_typed() {
        assert_eq!(action(&key(KeyCode::Char('q')), false), Some(Action::Quit));
        assert_eq!(action(&key(KeyCode::Char('q')), true), Some(Action::Type('q')));
        assert_eq!(action(&key(KeyCode::Esc), true), Some(Action::ClearFilter));
        assert_eq!(action(&key(KeyCode::F(5)), false), None);
    }

    #[test]
    fn ctrl_c_ends_it_whatever_is_typed() {
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(&key, false), Some(Action::Quit));
        assert_eq!(action(&key, true), Some(Action::Quit));
    }
}
