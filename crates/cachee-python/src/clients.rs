//! Which client objects are enrolled, and with which binding.
//!
//! A native method knows its client by address alone, so the hit path looks it up in an
//! open-addressed table: two or three loads. An address must never be taken for a client that has
//! gone: each entry holds a weak reference whose callback removes it before the memory is reused.
//! Guarded by the GIL.

use crate::binding::{Binding, BindingCore};
use crate::raw::{Obj, Table, plain};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ptr;
use std::sync::Arc;

const SLOTS_MIN: usize = 64;
/// So that a hit that nobody records pays nothing for the question.
pub const RECORDED: u32 = 1 << 16;

/// One enrolled client.
struct Client {
    /// 0: the slot is free.
    address: usize,
    /// Bit n: the nth hot method answers; the same from `RECORDED` on: and is written down.
    hot: u32,
    core: Option<Arc<BindingCore>>,
    binding: Option<Py<Binding>>,
    /// Owned.
    weak: Obj,
}

impl Client {
    const FREE: Client =
        Client { address: 0, hot: 0, core: None, binding: None, weak: ptr::null_mut() };
}

struct Clients {
    slots: Vec<Client>,
    len: usize,
}

static CLIENTS: Table<Clients> = Table::new(Clients { slots: Vec::new(), len: 0 });

#[inline(always)]
fn home(address: usize, slots: usize) -> usize {
    // Objects lie 16 bytes apart; the product's high bits are the well mixed ones.
    ((address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & (slots - 1)
}

impl Clients {
    #[inline(always)]
    fn place(&self, address: usize) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let mut at = home(address, self.slots.len());
        loop {
            match self.slots[at].address {
                0 => return None,
                found if found == address => return Some(at),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn insert(&mut self, client: Client) {
        if (self.len + 1) * 2 > self.slots.len() {
            let slots = (self.slots.len() * 2).max(SLOTS_MIN);
            let mut grown = Vec::with_capacity(slots);
            grown.resize_with(slots, || Client::FREE);
            for old in std::mem::replace(&mut self.slots, grown) {
                if old.address != 0 {
                    self.put(old);
                }
            }
        }
        self.put(client);
        self.len += 1;
    }

    fn put(&mut self, client: Client) {
        let mut at = home(client.address, self.slots.len());
        while self.slots[at].address != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = client;
    }

    /// Takes a client out and shifts the rest of its run back.
    fn remove(&mut self, at: usize) -> Client {
        let mask = self.slots.len() - 1;
        let removed = std::mem::replace(&mut self.slots[at], Client::FREE);
        let (mut hole, mut at) = (at, (at + 1) & mask);
        while self.slots[at].address != 0 {
            let home = home(self.slots[at].address, self.slots.len());
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots.swap(hole, at);
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.len -= 1;
        removed
    }
}

/// Releases what a removed entry held. May run Python code; nothing of the table is borrowed.
fn forget(client: Client) {
    // SAFETY: the references are ours; the GIL is held.
    unsafe {
        ffi::Py_XDECREF(client.weak);
        // Bound, so that it is released here: PyO3 does not know that the GIL is held.
        drop(client.binding.map(|binding| binding.into_bound(Python::assume_attached())));
    }
}

/// The binding a method may answer from, if the client is enrolled with it. Valid until Python
/// code runs.
///
/// # Safety
/// The GIL is held.
#[inline(always)]
pub unsafe fn binding_of<'a>(client: Obj, method: u32) -> Option<&'a Arc<BindingCore>> {
    // SAFETY: the GIL guards the table; the borrow ends before anything can change it.
    unsafe {
        let clients = &*CLIENTS.get();
        let found = &clients.slots[clients.place(client as usize)?];
        if found.hot & method == 0 {
            return None;
        }
        found.core.as_ref()
    }
}

static GONE: Table<ffi::PyMethodDef> =
    Table::new(plain(c"gone".as_ptr(), gone, ffi::METH_O, ptr::null()));

/// Callback of the weak reference; `address` is the client that has gone.
unsafe extern "C" fn gone(address: Obj, weak: Obj) -> Obj {
    // SAFETY: called by the interpreter; the table is not borrowed while Python code may run.
    unsafe {
        let address = ffi::PyLong_AsSize_t(address);
        let clients = &mut *CLIENTS.get();
        let place = clients.place(address).filter(|at| ptr::eq(clients.slots[*at].weak, weak));
        if let Some(place) = place {
            forget(clients.remove(place));
        }
        ffi::Py_NewRef(ffi::Py_None())
    }
}

unsafe fn watch(py: Python<'_>, client: Obj) -> PyResult<Obj> {
    // SAFETY: GONE lives for ever; each owned reference is dropped or returned.
    unsafe {
        let address = Bound::from_owned_ptr_or_err(py, ffi::PyLong_FromSize_t(client as usize))?;
        let callback = ffi::PyCFunction_NewEx(GONE.get(), address.as_ptr(), ptr::null_mut());
        let callback = Bound::from_owned_ptr_or_err(py, callback)?;
        let weak = ffi::PyWeakref_NewRef(client, callback.as_ptr());
        if weak.is_null() {
            return Err(PyErr::fetch(py));
        }
        Ok(weak)
    }
}

/// Enrols a client, or changes how it is enrolled.
pub fn enroll(
    client: &Bound<'_, PyAny>,
    binding: Option<Bound<'_, Binding>>,
    hot: u32,
) -> PyResult<()> {
    let py = client.py();
    withdraw(client);
    // SAFETY: the GIL is held; the table is borrowed only once no Python code can run.
    unsafe {
        let weak = watch(py, client.as_ptr())?;
        let clients = &mut *CLIENTS.get();
        if clients.place(client.as_ptr() as usize).is_some() {
            ffi::Py_DECREF(weak);
            return Err(PyRuntimeError::new_err("the client was enrolled by another thread"));
        }
        let is_recording = binding.as_ref().is_some_and(|each| each.get().core.is_recording());
        clients.insert(Client {
            address: client.as_ptr() as usize,
            hot: if is_recording { hot * RECORDED } else { hot },
            core: binding.as_ref().map(|binding| binding.get().core.clone()),
            binding: binding.map(Bound::unbind),
            weak,
        });
    }
    Ok(())
}

/// Undoes `enroll`.
pub fn withdraw(client: &Bound<'_, PyAny>) {
    // SAFETY: the GIL is held; what was removed is released after the last borrow.
    unsafe {
        let clients = &mut *CLIENTS.get();
        if let Some(place) = clients.place(client.as_ptr() as usize) {
            forget(clients.remove(place));
        }
    }
}

/// Undoes every `enroll`.
pub fn withdraw_all() {
    // SAFETY: as withdraw.
    let clients =
        unsafe { std::mem::replace(&mut *CLIENTS.get(), Clients { slots: Vec::new(), len: 0 }) };
    for client in clients.slots {
        if client.address != 0 {
            forget(client);
        }
    }
}

/// The binding a client is enrolled with.
pub fn enrolled(client: &Bound<'_, PyAny>) -> Option<Py<Binding>> {
    // SAFETY: the GIL is held.
    unsafe {
        let clients = &*CLIENTS.get();
        let found = &clients.slots[clients.place(client.as_ptr() as usize)?];
        found.binding.as_ref().map(|binding| binding.clone_ref(client.py()))
    }
}
