//! Types and prototypes as they are written in C.

use std::fmt;

use super::{Btf, BtfError, MAX_CHAIN, Type, is_alias, kind, read_u32};

/// Function pointers that take function pointers that take ... The kernel's deepest are two.
const MAX_NESTED_PROTOTYPES: usize = 6;
/// Bytes of a printed declaration. The kernel's longest are some hundred.
const MAX_PRINTED: usize = 16 << 10;

/// A function's name, parameters and return type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    /// The function.
    pub name: String,
    /// In order; what the compiler's `.isra` and `.constprop` copies removed is still here.
    pub parameters: Vec<Parameter>,
    /// The return type in C.
    pub returns: String,
    declaration: String,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Empty where BTF has none; `...` for the rest of a variadic function.
    pub name: String,
    /// In C: `struct epoll_event *`; empty for `...`.
    pub c_type: String,
}

/// As in the kernel's source: `int do_epoll_ctl(int epfd, int op, ..)`.
impl fmt::Display for Prototype {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.declaration)
    }
}

impl Btf {
    /// The prototype of a function; of several static ones that share the name, the first.
    ///
    /// That BTF knows a function does not mean that a probe can be attached to it: it may only exist as a copy of the compiler's
    /// such as `ep_item_poll.isra.0`. The symbols say.
    ///
    /// # Errors
    /// [`BtfError::NoFunction`], or what is wrong with the BTF.
    pub fn function(&self, name: &str) -> Result<Prototype, BtfError> {
        match self.functions_named(name)?.into_iter().next() {
            Some(prototype) => Ok(prototype),
            None => Err(BtfError::NoFunction(name.to_owned())),
        }
    }

    /// The prototypes of all functions of this name; none is no error.
    ///
    /// # Errors
    /// What is wrong with the BTF.
    pub fn functions_named(&self, name: &str) -> Result<Vec<Prototype>, BtfError> {
        let functions = self.named(name).filter(|(_, ty)| ty.kind() == kind::FUNC);
        functions.map(|(_, ty)| self.prototype(name, ty)).collect()
    }

    /// What a program at a raw tracepoint is given: the typedef `btf_trace_NAME` is a pointer to a function of it
    /// (`include/trace/bpf_probe.h`, 5.3 to 7.3). The first parameter, `__data`, is left out, as the program does not see it.
    ///
    /// # Errors
    /// [`BtfError::NoFunction`], or what is wrong with the BTF.
    pub fn tracepoint(&self, name: &str) -> Result<Prototype, BtfError> {
        let typedef = format!("btf_trace_{name}");
        let found = self.named(&typedef).find(|(_, ty)| ty.kind() == kind::TYPEDEF);
        let Some((_, typedef)) = found else { return Err(BtfError::NoFunction(name.to_owned())) };
        match self.resolve(typedef.of)? {
            Some((_, pointer)) if pointer.kind() == kind::PTR => {
                let mut prototype = self.prototype(name, pointer)?;
                if !prototype.parameters.is_empty() {
                    prototype.parameters.remove(0);
                }
                Ok(prototype)
            }
            _ => Err(BtfError::Malformed("a tracepoint's type is no pointer")),
        }
    }

    /// Of a function, or of what a pointer points to.
    fn prototype(&self, name: &str, function: Type) -> Result<Prototype, BtfError> {
        let ty = self.ty(function.of)?;
        if ty.kind() != kind::FUNC_PROTO {
            return Err(BtfError::Malformed("a function has no prototype"));
        }
        // First, because it limits how much the parameters can take.
        let declaration = self.declaration(function.of, name)?;
        let parameters = (0..ty.count())
            .map(|index| {
                let (name, type_id) = self.parameter(ty, index)?;
                if type_id == 0 {
                    return Ok(Parameter { name: "...".to_owned(), c_type: String::new() });
                }
                Ok(Parameter { name: name.to_owned(), c_type: self.declaration(type_id, "")? })
            })
            .collect::<Result<_, BtfError>>()?;
        Ok(Prototype { name: name.to_owned(), parameters, returns: self.declaration(ty.of, "")?, declaration })
    }

    fn parameter(&self, prototype: Type, index: usize) -> Result<(&str, u32), BtfError> {
        let at = prototype.rest + index * 8;
        Ok((self.name(read_u32(&self.data, at)?)?, read_u32(&self.data, at + 4)?))
    }

    /// The declaration of `name` with this type, or the type alone if `name` is empty.
    ///
    /// Type tags (`__user`, `__rcu`) are left out: only clang writes them, and the same kernel built with gcc should print the same.
    pub(super) fn declaration(&self, id: u32, name: &str) -> Result<String, BtfError> {
        self.declare(id, name.to_owned(), 0)
    }

    /// C's declarations grow from the name outwards: `inner` is what stands inside so far.
    fn declare(&self, id: u32, mut inner: String, depth: usize) -> Result<String, BtfError> {
        let mut at = id;
        let mut qualifiers = String::new();
        for _ in 0..MAX_CHAIN {
            if inner.len() > MAX_PRINTED {
                break;
            }
            if at == 0 {
                return Ok(join(&format!("{qualifiers}void"), &inner));
            }
            let ty = self.ty(at)?;
            let next = ty.of;
            match ty.kind() {
                kind::CONST => qualifiers.push_str("const "),
                kind::VOLATILE => qualifiers.push_str("volatile "),
                kind::RESTRICT => qualifiers.push_str("restrict "),
                kind::TYPE_TAG => {}
                kind::PTR => {
                    inner = format!("*{qualifiers}{inner}");
                    qualifiers.clear();
                    if matches!(self.unqualified(next)?, kind::FUNC_PROTO | kind::ARRAY) {
                        inner = format!("({inner})");
                    }
                }
                kind::ARRAY => {
                    inner = format!("{inner}[{}]", read_u32(&self.data, ty.rest + 8)?);
                    at = read_u32(&self.data, ty.rest)?;
                    continue;
                }
                kind::FUNC_PROTO => inner = format!("{inner}({})", self.parameters(ty, depth)?),
                _ => return Ok(join(&format!("{qualifiers}{}", self.leaf(ty)?), &inner)),
            }
            at = next;
        }
        Err(BtfError::TooDeep(id))
    }

    fn parameters(&self, prototype: Type, depth: usize) -> Result<String, BtfError> {
        if depth >= MAX_NESTED_PROTOTYPES {
            return Ok("...".to_owned());
        }
        let mut printed = String::new();
        for index in 0..prototype.count() {
            let (name, type_id) = self.parameter(prototype, index)?;
            if index > 0 {
                printed.push_str(", ");
            }
            if type_id == 0 {
                printed.push_str("...");
            } else {
                printed.push_str(&self.declare(type_id, name.to_owned(), depth + 1)?);
            }
            if printed.len() > MAX_PRINTED {
                return Err(BtfError::Malformed("a prototype is far too long"));
            }
        }
        Ok(if printed.is_empty() { "void".to_owned() } else { printed })
    }

    /// The kind of a type, qualifiers and tags aside; `void` has kind 0.
    fn unqualified(&self, id: u32) -> Result<u8, BtfError> {
        let mut at = id;
        for _ in 0..MAX_CHAIN {
            if at == 0 {
                return Ok(0);
            }
            let ty = self.ty(at)?;
            if ty.kind() == kind::TYPEDEF || !is_alias(ty.kind()) {
                return Ok(ty.kind());
            }
            at = ty.of;
        }
        Err(BtfError::TooDeep(id))
    }

    /// A type that does not refer to another.
    fn leaf(&self, ty: Type) -> Result<String, BtfError> {
        let name = self.name(ty.name)?;
        let keyword = match ty.kind() {
            kind::INT | kind::TYPEDEF | kind::FLOAT => return Ok(name.to_owned()),
            kind::STRUCT => "struct",
            kind::UNION => "union",
            kind::FWD => {
                if ty.flag() {
                    "union"
                } else {
                    "struct"
                }
            }
            kind::ENUM | kind::ENUM64 => "enum",
            _ => return Err(BtfError::Malformed("a value has a type that is none")),
        };
        Ok(if name.is_empty() { format!("{keyword} {{..}}") } else { format!("{keyword} {name}") })
    }
}

fn join(base: &str, inner: &str) -> String {
    let space = if inner.starts_with('[') { "" } else { " " };
    format!("{base}{space}{inner}").trim_end().to_owned()
}
