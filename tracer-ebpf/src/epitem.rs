//! An epitem, read as one block: every field read on its own would cost a helper call.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::{MAX_BYTES_OF_EPITEM, Miss, epitem_shape};

use crate::globals::{config, offset};
use crate::kread;

/// `EP_UNACTIVE_PTR` (fs/eventpoll.c, 5.10 to 7.3). As `eventpoll.ovflist`: no scan runs. As `epitem.next`: the item is not on that list.
pub(crate) const UNACTIVE: u64 = u64::MAX;

const LONGS: usize = MAX_BYTES_OF_EPITEM / 8;
const WORDS: usize = LONGS * 2;

/// The fields of an epitem that the probes report.
pub(crate) struct Epitem {
    pub(crate) ep: u64,
    pub(crate) file: u64,
    pub(crate) data: u64,
    /// Whether `rdllink` is on a list: it points to itself when it is on none.
    pub(crate) linked: bool,
    /// [`UNACTIVE`] when the item is not on the overflow list.
    pub(crate) ovflist_next: u64,
    pub(crate) events: u32,
    pub(crate) fd: i32,
}

/// Not set to zero first: that would cost more than the read.
type Block = MaybeUninit<[u64; LONGS]>;

#[inline(always)]
fn word(block: &Block, offset: usize) -> u32 {
    // SAFETY: the index is masked to the length; the verifier refuses a word that was not read.
    unsafe { *block.as_ptr().cast::<u32>().add((offset / 4) & (WORDS - 1)) }
}

/// Two words: `epoll_event.data` is only 4-aligned on x86-64.
#[inline(always)]
fn long(block: &Block, offset: usize) -> u64 {
    u64::from(word(block, offset)) | u64::from(word(block, offset + 4)) << 32
}

const RDLLINK: u64 = epitem_shape::RDLLINK as u64;

/// The most levels of an eventpoll's tree that a search goes down: twice the logarithm of a million items.
const MAX_LEVELS: u32 = 40;

/// The item of an eventpoll that watches `file` as `fd`: its address and fields; address 0 when there is none.
///
/// Goes down `eventpoll.rbr`, which is sorted by file and descriptor (`ep_cmp_ffd`, fs/eventpoll.c, 5.10 to 7.3). No lock is held:
/// while another thread adds or removes items, an item may be missed.
#[inline(always)]
pub(crate) fn find(ep: u64, file: u64, fd: i32) -> Result<(u64, Option<Epitem>), Miss> {
    let mut node: u64 = kread::kernel(ep + offset!(ep_rb_root) as u64)?;
    for _ in 0..MAX_LEVELS {
        if node == 0 {
            break;
        }
        let epi = node.wrapping_sub(offset!(epitem_rbn) as u64);
        let item = epitem(epi)?;
        if item.file == file && item.fd == fd {
            return Ok((epi, Some(item)));
        }
        let right = item.file < file || (item.file == file && item.fd < fd);
        let child = if right { offset!(rb_right) } else { offset!(rb_left) };
        node = kread::kernel(node + child as u64)?;
    }
    Ok((0, None))
}

/// The item that follows `after` (file and descriptor) in an eventpoll's tree: its address and fields; address 0 behind the last.
///
/// `(0, -1)` comes before all of them. As [`find`], but the caller holds `eventpoll.mtx`.
#[inline(always)]
pub(crate) fn next(ep: u64, after: (u64, i32)) -> Result<(u64, Option<Epitem>), Miss> {
    let mut node: u64 = kread::kernel(ep + offset!(ep_rb_root) as u64)?;
    let mut least = 0;
    for _ in 0..MAX_LEVELS {
        if node == 0 {
            break;
        }
        let item = epitem(node.wrapping_sub(offset!(epitem_rbn) as u64))?;
        let behind = item.file > after.0 || (item.file == after.0 && item.fd > after.1);
        if behind {
            least = node;
        }
        let child = if behind { offset!(rb_left) } else { offset!(rb_right) };
        node = kread::kernel(node + child as u64)?;
    }
    if least == 0 {
        return Ok((0, None));
    }
    let epi = least.wrapping_sub(offset!(epitem_rbn) as u64);
    Ok((epi, Some(epitem(epi)?)))
}

/// Reads the epitem at an address (`struct epitem`, fs/eventpoll.c, 5.10 to 7.3), of which the caller cannot know that it is still one.
#[inline(always)]
pub(crate) fn epitem(address: u64) -> Result<Epitem, Miss> {
    let mut block = Block::uninit();
    match config!(epitem_shape) {
        epitem_shape::NEW | epitem_shape::NEW_IN_PLACE => {
            read(&mut block, address + RDLLINK, 12 * 8)?;
            Ok(New { address, longs: block.as_ptr().cast() }.item())
        }
        epitem_shape::OLD => {
            read(&mut block, address + RDLLINK, 13 * 8)?;
            Ok(Old { address, longs: block.as_ptr().cast() }.item())
        }
        _ => unshaped(address, &mut block),
    }
}

/// An epitem as it lies in memory from `rdllink` on, in longs: `EP` and `EVENT` are the places of `ep` and `event` among them. A field is
/// read when it is asked for: what is read and then waits for a call of a helper would have to be put aside, and fetched again.
#[derive(Clone, Copy)]
pub(crate) struct Longs<const EP: usize, const EVENT: usize> {
    address: u64,
    longs: *const u64,
}

/// [`epitem_shape::NEW`].
pub(crate) type New = Longs<6, 10>;
/// [`epitem_shape::OLD`].
type Old = Longs<7, 11>;

/// Room for an epitem of shape [`New`].
pub(crate) type Room = MaybeUninit<[u64; 12]>;

/// The epitem at an address that the caller knows to be alive. `room` is where it is copied to if it cannot be read in place.
#[inline(always)]
pub(crate) fn alive(address: u64, room: &mut Room) -> Result<New, Miss> {
    let longs = match config!(epitem_shape) {
        epitem_shape::NEW_IN_PLACE => kread::in_place(address + RDLLINK),
        epitem_shape::NEW => {
            // SAFETY: the room is as large as what is read.
            if unsafe { kread::into(room.as_mut_ptr(), address + RDLLINK) } != 0 {
                return Err(Miss::ReadFailed);
            }
            room.as_ptr().cast()
        }
        _ => {
            let item = epitem(address)?;
            New::lay(&item, address, room);
            room.as_ptr().cast()
        }
    };
    let this = New { address, longs };
    if this.ep() == 0 { Err(Miss::ReadFailed) } else { Ok(this) }
}

impl<const EP: usize, const EVENT: usize> Longs<EP, EVENT> {
    #[inline(always)]
    fn at(self, place: usize) -> u64 {
        // SAFETY: the places are below the length of what was read; the verifier refuses any other.
        unsafe { *self.longs.add(place) }
    }

    /// As [`Epitem::linked`], and so the others.
    #[inline(always)]
    pub(crate) fn linked(self) -> bool {
        self.at(0) != self.address + RDLLINK
    }

    #[inline(always)]
    pub(crate) fn ovflist_next(self) -> u64 {
        self.at(2)
    }

    #[inline(always)]
    pub(crate) fn file(self) -> u64 {
        self.at(3)
    }

    #[inline(always)]
    pub(crate) fn fd(self) -> i32 {
        self.at(4) as i32
    }

    #[inline(always)]
    pub(crate) fn ep(self) -> u64 {
        self.at(EP)
    }

    #[inline(always)]
    pub(crate) fn events(self) -> u32 {
        self.at(EVENT) as u32
    }

    #[inline(always)]
    pub(crate) fn data(self) -> u64 {
        self.at(EVENT) >> 32 | self.at(EVENT + 1) << 32
    }

    /// All of them.
    #[inline(always)]
    fn item(self) -> Epitem {
        Epitem {
            ep: self.ep(),
            file: self.file(),
            data: self.data(),
            linked: self.linked(),
            ovflist_next: self.ovflist_next(),
            events: self.events(),
            fd: self.fd(),
        }
    }

    /// Puts the fields of the epitem at `address` to their places.
    #[inline(always)]
    fn lay(item: &Epitem, address: u64, room: &mut Room) {
        let longs: *mut u64 = room.as_mut_ptr().cast();
        let put = #[inline(always)]
        |place: usize, long: u64| {
            // SAFETY: as in `at`.
            unsafe { *longs.add(place) = long };
        };
        put(0, if item.linked { 0 } else { address + RDLLINK });
        put(2, item.ovflist_next);
        put(3, item.file);
        put(4, u64::from(item.fd as u32));
        put(EP, item.ep);
        put(EVENT, u64::from(item.events) | item.data << 32);
        put(EVENT + 1, item.data >> 32);
    }
}

/// An epitem by its offsets.
#[inline(always)]
fn unshaped(address: u64, block: &mut Block) -> Result<Epitem, Miss> {
    let bytes = offset!(epitem_bytes);
    if bytes > MAX_BYTES_OF_EPITEM {
        return Err(Miss::ReadFailed);
    }
    read(block, address, bytes as u32)?;
    let rdllink = offset!(epitem_rdllink);
    Ok(Epitem {
        ep: long(block, offset!(epitem_ep)),
        file: long(block, offset!(epitem_file)),
        data: long(block, offset!(epitem_data)),
        linked: long(block, rdllink) != address + rdllink as u64,
        ovflist_next: long(block, offset!(epitem_ovflist_next)),
        events: word(block, offset!(epitem_events)),
        fd: word(block, offset!(epitem_fd)) as i32,
    })
}

/// `bytes` is at most the block's size.
#[inline(always)]
fn read(block: &mut Block, address: u64, bytes: u32) -> Result<(), Miss> {
    // SAFETY: the helper checks the address.
    let ret = unsafe { bpf_probe_read_kernel(block.as_mut_ptr().cast(), bytes, address as *const _) };
    if ret == 0 { Ok(()) } else { Err(Miss::ReadFailed) }
}
