//! Where a field lies in a struct.

use super::{Btf, BtfError, MAX_CHAIN, Type, is_alias, kind, read_u32};

/// Anonymous structs and unions inside each other. The kernel's deepest are five.
const MAX_ANONYMOUS: usize = 16;
/// Members looked at for one part of a path. `task_struct` has about 300, all its anonymous ones included.
const MAX_MEMBERS: usize = 100_000;
/// Bytes of a pointer of a 64-bit kernel.
const POINTER_BYTES: u32 = 8;

/// Where a field lies and how large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Bytes from the start of the outermost struct.
    pub offset: u32,
    /// Bytes of the field; `None` where its type has no size, as an array without a length.
    pub size: Option<u32>,
    /// The field's type, for [`Btf::member_type_name`].
    type_id: u32,
}

/// A member of a struct or union as BTF has it.
#[derive(Debug, Clone, Copy)]
struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u32,
    /// Bits of a bitfield, 0 for all others.
    bits: u32,
}

impl Btf {
    /// Bytes of a struct or union, or of what a typedef of that name stands for.
    ///
    /// # Errors
    /// [`BtfError::NoStruct`], or [`BtfError::Ambiguous`] if several structs of that name have different sizes.
    pub fn struct_size(&self, name: &str) -> Result<u32, BtfError> {
        let mut size = None;
        for (_, ty) in self.composites(name)? {
            if size.is_some_and(|size| size != ty.of) {
                return Err(BtfError::Ambiguous { owner: name.to_owned(), field: "its end".to_owned() });
            }
            size = Some(ty.of);
        }
        size.ok_or_else(|| BtfError::NoStruct(name.to_owned()))
    }

    /// Bytes from the start of `name` to the field at `path`, which is a field or fields of fields: `ffd.fd`.
    ///
    /// Names of typedefs serve too, and members of anonymous structs and unions count as members of the one around them.
    ///
    /// # Errors
    /// [`BtfError`]: no such struct or field, a path through something that is no struct, a bitfield, or several structs of
    /// that name that disagree.
    pub fn field_offset(&self, name: &str, path: &str) -> Result<u32, BtfError> {
        self.field(name, path).map(|field| field.offset)
    }

    /// As [`Btf::field_offset`], with the size.
    ///
    /// # Errors
    /// As [`Btf::field_offset`].
    pub fn field(&self, name: &str, path: &str) -> Result<Field, BtfError> {
        let mut found: Option<Field> = None;
        let mut refused = None;
        for (id, _) in self.composites(name)? {
            match (self.field_in(id, name, path), found) {
                (Ok(field), Some(other)) if other.offset != field.offset => {
                    return Err(BtfError::Ambiguous { owner: name.to_owned(), field: path.to_owned() });
                }
                (Ok(field), None) => found = Some(field),
                (Ok(_), Some(_)) => {}
                (Err(error), _) => refused = refused.or(Some(error)),
            }
        }
        match (found, refused) {
            (Some(field), _) => Ok(field),
            (None, Some(error)) => Err(error),
            (None, None) => Err(BtfError::NoStruct(name.to_owned())),
        }
    }

    /// The type of a field as it is written in C: `spinlock_t`, `struct epitem *`.
    ///
    /// # Errors
    /// As [`Btf::field_offset`].
    pub fn member_type_name(&self, name: &str, path: &str) -> Result<String, BtfError> {
        self.declaration(self.field(name, path)?.type_id, "")
    }

    /// The structs and unions of this name; if there are none, those that typedefs of this name stand for.
    fn composites(&self, name: &str) -> Result<Vec<(u32, Type)>, BtfError> {
        let mut found: Vec<_> = self.named(name).filter(|(_, ty)| is_composite(ty.kind())).collect();
        if found.is_empty() {
            for (id, _) in self.named(name).filter(|(_, ty)| ty.kind() == kind::TYPEDEF) {
                found.extend(self.resolve(id)?.filter(|(_, ty)| is_composite(ty.kind())));
            }
        }
        if found.is_empty() { Err(BtfError::NoStruct(name.to_owned())) } else { Ok(found) }
    }

    fn field_in(&self, id: u32, name: &str, path: &str) -> Result<Field, BtfError> {
        let mut owner = name.to_owned();
        let mut at = (id, self.ty(id)?);
        let mut offset = 0_u32;
        let mut parts = path.split('.').peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let mut budget = MAX_MEMBERS;
            let member = self
                .find_member(at, part, 0, &mut budget)?
                .ok_or_else(|| BtfError::NoField { owner: owner.clone(), field: part.to_owned() })?;
            owner = format!("{owner}.{part}");
            if self.is_bitfield(member)? {
                return Err(BtfError::Bitfield(owner));
            }
            offset = offset
                .checked_add(member.bit_offset / 8)
                .ok_or(BtfError::Malformed("an offset does not fit in 32 bits"))?;
            if parts.peek().is_none() {
                return Ok(Field { offset, size: self.type_size(member.type_id)?, type_id: member.type_id });
            }
            at = match self.resolve(member.type_id)? {
                Some((id, ty)) if is_composite(ty.kind()) => (id, ty),
                _ => return Err(BtfError::NotAStruct(owner)),
            };
        }
    }

    /// The member of this name, anonymous members searched through; its offset is from the start of `owner`.
    fn find_member(
        &self,
        (id, owner): (u32, Type),
        name: &str,
        depth: usize,
        budget: &mut usize,
    ) -> Result<Option<Member>, BtfError> {
        if depth > MAX_ANONYMOUS {
            return Err(BtfError::TooDeep(id));
        }
        for index in 0..owner.count() {
            *budget = budget.checked_sub(1).ok_or(BtfError::TooDeep(id))?;
            let member = self.member(owner, index)?;
            if member.name != 0 {
                if self.has_name(member.name, name) {
                    return Ok(Some(member));
                }
                continue;
            }
            let Some((inner, ty)) = self.resolve(member.type_id)? else {
                continue;
            };
            if !is_composite(ty.kind()) {
                continue;
            }
            if let Some(found) = self.find_member((inner, ty), name, depth + 1, budget)? {
                let bit_offset = member.bit_offset.checked_add(found.bit_offset);
                let bit_offset = bit_offset.ok_or(BtfError::Malformed("an offset does not fit in 32 bits"))?;
                return Ok(Some(Member { bit_offset, ..found }));
            }
        }
        Ok(None)
    }

    fn member(&self, owner: Type, index: usize) -> Result<Member, BtfError> {
        let at = owner.rest + index * 12;
        let offset = read_u32(&self.data, at + 8)?;
        // With the flag the offset's upper byte holds the bits of a bitfield (`BTF_MEMBER_BITFIELD_SIZE`).
        let (bit_offset, bits) = if owner.flag() { (offset & 0xff_ffff, offset >> 24) } else { (offset, 0) };
        if bit_offset / 8 > owner.of {
            return Err(BtfError::Malformed("a field lies outside of its struct"));
        }
        Ok(Member { name: read_u32(&self.data, at)?, type_id: read_u32(&self.data, at + 4)?, bit_offset, bits })
    }

    fn is_bitfield(&self, member: Member) -> Result<bool, BtfError> {
        if member.bits != 0 || !member.bit_offset.is_multiple_of(8) {
            return Ok(true);
        }
        // Before the flag existed, a bitfield was an integer with fewer bits than its bytes have (`BTF_INT_BITS`).
        let Some((_, ty)) = self.resolve(member.type_id)? else {
            return Ok(false);
        };
        if ty.kind() != kind::INT {
            return Ok(false);
        }
        let encoding = read_u32(&self.data, ty.rest)?;
        Ok((encoding >> 16) & 0xff != 0 || Some(encoding & 0xff) != ty.of.checked_mul(8))
    }

    /// Bytes of a type; `None` where it has no size.
    fn type_size(&self, id: u32) -> Result<Option<u32>, BtfError> {
        let mut at = id;
        let mut count = 1_u32;
        for _ in 0..MAX_CHAIN {
            if at == 0 {
                return Ok(None);
            }
            let ty = self.ty(at)?;
            let one = match ty.kind() {
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => ty.of,
                kind::PTR => POINTER_BYTES,
                kind::ARRAY => {
                    let elements = read_u32(&self.data, ty.rest + 8)?;
                    count = count.checked_mul(elements).ok_or(BtfError::Malformed("an array is larger than 4 GiB"))?;
                    at = read_u32(&self.data, ty.rest)?;
                    continue;
                }
                alias if is_alias(alias) => {
                    at = ty.of;
                    continue;
                }
                _ => return Ok(None),
            };
            let size = count.checked_mul(one).ok_or(BtfError::Malformed("an array is larger than 4 GiB"))?;
            return Ok(Some(size).filter(|&size| size != 0));
        }
        Err(BtfError::TooDeep(id))
    }
}

fn is_composite(kind: u8) -> bool {
    matches!(kind, kind::STRUCT | kind::UNION)
}
