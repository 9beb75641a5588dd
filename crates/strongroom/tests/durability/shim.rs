//! The VFS that puts databases on a [`Disk`](crate::disk::Disk): SQLite's own, with every call reported to the disk first.
//!
//! It is the process's default VFS from the first disk on, so that strongroom opens its files through it without knowing.
//! Files in no disk's folder, and temporary ones, are SQLite's own VFS's alone.
//!
//! Files are not memory-mapped (`iVersion` 2 has no `xFetch`), so that no read or write passes by unseen. The index of the
//! log (`-shm`) is memory shared by connections and no part of what survives; only its mapping and locking can be made to
//! fail.

use std::cell::Cell;
use std::ffi::{CStr, OsStr, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock};

use rusqlite::ffi;

use crate::disk::{Call, Part, Platter, Site};

/// The disks that are mounted, by their folders.
static MOUNTED: Mutex<Vec<(PathBuf, Arc<Platter>)>> = Mutex::new(Vec::new());

/// Puts the files of a folder on a disk.
pub(crate) fn mount(folder: &Path, platter: &Arc<Platter>) {
    real();
    MOUNTED.lock().unwrap().push((folder.to_owned(), Arc::clone(platter)));
}

/// Takes it away. Files that are open stay on it.
pub(crate) fn unmount(folder: &Path) {
    MOUNTED.lock().unwrap().retain(|(mounted, _)| mounted != folder);
}

fn disk_of(path: &Path) -> Option<Arc<Platter>> {
    let folder = path.parent()?;
    let mounted = MOUNTED.lock().unwrap();
    mounted.iter().find(|(mounted, _)| mounted == folder).map(|(_, platter)| Arc::clone(platter))
}

/// SQLite's own VFS, and its function that opens a folder to sync it.
struct Real {
    vfs: *mut ffi::sqlite3_vfs,
    open_directory: OpenDirectory,
}

type OpenDirectory = unsafe extern "C" fn(*const c_char, *mut c_int) -> c_int;

// SAFETY: the VFS is registered for the life of the process, is never changed after `real` has set it up, and its
// functions may be called from any thread, as SQLite does.
unsafe impl Send for Real {}
// SAFETY: as above.
unsafe impl Sync for Real {}

/// Registers the shim at the first call.
fn real() -> &'static Real {
    static REAL: OnceLock<Real> = OnceLock::new();
    REAL.get_or_init(|| {
        // SAFETY: without a name it answers the default VFS, which lives as long as the process.
        let vfs = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!vfs.is_null(), "SQLite has a VFS on every Unix");
        // SAFETY: not null, and nobody changes it while it is copied: no database is open before the first disk.
        let unix = unsafe { *vfs };
        let (get, set) = (unix.xGetSystemCall.expect("unix VFS"), unix.xSetSystemCall.expect("unix VFS"));
        // SAFETY: the VFS's own functions, given the VFS, names that are C strings, and a function of the type that
        // `openDirectory` has in SQLite's os_unix.c, which is also the type that the answer is taken for.
        let open_directory = unsafe {
            let found = get(vfs, c"openDirectory".as_ptr()).expect("the unix VFS knows openDirectory");
            let ours = std::mem::transmute::<OpenDirectory, unsafe extern "C" fn()>(open_directory);
            assert_eq!(set(vfs, c"openDirectory".as_ptr(), Some(ours)), ffi::SQLITE_OK);
            std::mem::transmute::<unsafe extern "C" fn(), OpenDirectory>(found)
        };
        // What is not replaced here depends on `pAppData` only, which stays that of the VFS it was copied from.
        let shim = Box::leak(Box::new(ffi::sqlite3_vfs {
            szOsFile: unix.szOsFile + size_of::<ShimFile>() as c_int,
            pNext: ptr::null_mut(),
            zName: c"strongroom-disk".as_ptr(),
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            ..unix
        }));
        // SAFETY: leaked, so it lives as long as the process.
        assert_eq!(unsafe { ffi::sqlite3_vfs_register(shim, 1) }, ffi::SQLITE_OK);
        Real { vfs, open_directory }
    })
}

thread_local! {
    /// Whether the call under way has opened its file's folder, which SQLite does only to sync it.
    static FOLDER_OPENED: Cell<bool> = const { Cell::new(false) };
}

unsafe extern "C" fn open_directory(path: *const c_char, descriptor: *mut c_int) -> c_int {
    FOLDER_OPENED.set(true);
    // SAFETY: the arguments are SQLite's, for the function that it would have called.
    unsafe { (real().open_directory)(path, descriptor) }
}

/// A file as SQLite holds it. The real VFS's own part follows in the same piece of memory.
#[repr(C)]
struct ShimFile {
    base: ffi::sqlite3_file,
    open: *mut OpenFile,
}

struct OpenFile {
    platter: Arc<Platter>,
    part: Part,
    /// Its number on the disk.
    number: usize,
    real: *mut ffi::sqlite3_file,
}

impl OpenFile {
    fn site(&self) -> Site {
        self.site_to(0)
    }

    fn site_to(&self, end: u64) -> Site {
        Site { part: self.part, file: Some(self.number), end }
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Calls the real VFS's method of an open file.
macro_rules! real {
    ($open:expr, $method:ident $(, $argument:expr)*) => {
        // SAFETY: the real file is open until `close`, has all methods of `iVersion` 2, and the arguments are those that
        // SQLite has given for the same method.
        unsafe { (*(*$open.real).pMethods).$method.expect("a method of version 2")($open.real $(, $argument)*) }
    };
}

/// The shim's part of a file that SQLite calls a method of.
///
/// # Safety
///
/// `file` must be open: given to SQLite by [`open`] and not closed yet. SQLite promises that to a VFS.
unsafe fn opened<'file>(file: *mut ffi::sqlite3_file) -> &'file OpenFile {
    // SAFETY: `open` has put a `ShimFile` there, whose pointer is to a box that lives until `close`.
    unsafe { &*(*file.cast::<ShimFile>()).open }
}

/// # Safety
///
/// As [`opened`], or null, which names no file.
unsafe fn path<'name>(name: *const c_char) -> Option<&'name Path> {
    // SAFETY: SQLite's names are C strings, alive during the call.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) })?;
    Some(Path::new(OsStr::from_bytes(name.to_bytes())))
}

fn file_name(path: &Path) -> OsString {
    path.file_name().unwrap_or_default().to_owned()
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let vfs = real().vfs;
    // SAFETY: the real VFS's own function; `file` has room for its file and more, the rest are SQLite's arguments.
    let open_real = |file| unsafe { (*vfs).xOpen.expect("xOpen")(vfs, name, file, flags, out_flags) };
    let part = match flags & (ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) {
        ffi::SQLITE_OPEN_MAIN_DB => Some(Part::Database),
        ffi::SQLITE_OPEN_WAL => Some(Part::Log),
        ffi::SQLITE_OPEN_MAIN_JOURNAL => Some(Part::Journal),
        _ => None,
    };
    // SAFETY: SQLite's argument.
    let path = unsafe { path(name) };
    let (Some(part), Some(path), Some(platter)) = (part, path, path.and_then(disk_of)) else { return open_real(file) };
    // SAFETY: the memory is `szOsFile` long: a `ShimFile`, whose size is a multiple of its alignment, and the real VFS's.
    let real = unsafe { file.cast::<ShimFile>().add(1) }.cast::<ffi::sqlite3_file>();
    // SAFETY: as above. A file without methods is one that could not be opened, and is not closed.
    unsafe {
        (*file).pMethods = ptr::null();
        (*real).pMethods = ptr::null();
    }
    let mut number = None;
    let code =
        platter.call(Call::Open, named(part), || open_real(real), |state| number = Some(state.open(&file_name(path))));
    match (code, number) {
        (ffi::SQLITE_OK, Some(number)) => {
            let open = Box::into_raw(Box::new(OpenFile { platter, part, number, real }));
            // SAFETY: as above, and nobody else knows the file yet.
            unsafe { file.cast::<ShimFile>().write(ShimFile { base: ffi::sqlite3_file { pMethods: &METHODS }, open }) };
        }
        // The disk said no after the real file had been opened, or its power went.
        // SAFETY: the real VFS sets the methods of a file that it has opened, and only of such a one.
        (_, Some(_)) => unsafe {
            if let Some(methods) = (*real).pMethods.as_ref() {
                methods.xClose.expect("xClose")(real);
            }
        },
        _ => {}
    }
    code
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    let vfs = real().vfs;
    // SAFETY: the real VFS's own function with SQLite's arguments.
    let delete_real = || unsafe { (*vfs).xDelete.expect("xDelete")(vfs, name, sync_folder) };
    // SAFETY: SQLite's argument.
    let path = unsafe { path(name) };
    let Some((path, platter)) = path.and_then(|path| Some((path, disk_of(path)?))) else { return delete_real() };
    FOLDER_OPENED.set(false);
    platter.call(Call::Delete, named(part_of(path)), delete_real, |state| {
        state.delete(&file_name(path));
        if FOLDER_OPENED.take() {
            state.sync_folder();
        }
    })
}

unsafe extern "C" fn access(_: *mut ffi::sqlite3_vfs, name: *const c_char, flags: c_int, answer: *mut c_int) -> c_int {
    let vfs = real().vfs;
    // SAFETY: the real VFS's own function with SQLite's arguments.
    let access_real = || unsafe { (*vfs).xAccess.expect("xAccess")(vfs, name, flags, answer) };
    // SAFETY: SQLite's argument.
    let path = unsafe { path(name) };
    let Some((path, platter)) = path.and_then(|path| Some((path, disk_of(path)?))) else { return access_real() };
    platter.call(Call::Access, named(part_of(path)), access_real, |_| {})
}

fn named(part: Part) -> Site {
    Site { part, file: None, end: 0 }
}

fn part_of(path: &Path) -> Part {
    let name = file_name(path);
    match name.as_bytes() {
        name if name.ends_with(b"-wal") => Part::Log,
        name if name.ends_with(b"-journal") => Part::Journal,
        _ => Part::Database,
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file, and calls nothing of it afterwards; `open` made the box.
    let open = unsafe { Box::from_raw((*file.cast::<ShimFile>()).open) };
    real!(open, xClose)
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    let end = offset as u64 + amount as u64;
    open.platter.call(Call::Read, open.site_to(end), || real!(open, xRead, buffer, amount, offset), |_| {})
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, buffer: *const c_void, amount: c_int, offset: i64) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    // SAFETY: SQLite gives a buffer of that many bytes, and does not change it meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), amount as usize) };
    let end = offset as u64 + amount as u64;
    let work = || real!(open, xWrite, buffer, amount, offset);
    open.platter.call(Call::Write, open.site_to(end), work, |state| state.write(open.number, offset as usize, bytes))
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    let work = || real!(open, xTruncate, length);
    open.platter.call(Call::Truncate, open.site(), work, |state| state.truncate(open.number, length as usize))
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    FOLDER_OPENED.set(false);
    open.platter.call(
        Call::Sync,
        open.site(),
        || real!(open, xSync, flags),
        |state| {
            state.sync(open.number);
            if FOLDER_OPENED.take() {
                state.sync_folder();
            }
        },
    )
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    open.platter.call(Call::Size, open.site(), || real!(open, xFileSize, size), |_| {})
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    open.platter.call(Call::Lock, open.site(), || real!(open, xLock, level), |_| {})
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xCheckReservedLock, answer)
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    answer: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    let work = || real!(open, xShmMap, page, size, extend, answer);
    open.platter.call(Call::MapIndex, open.site(), work, |_| {})
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    let work = || real!(open, xShmLock, offset, count, flags);
    // An unlock cannot fail.
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        return work();
    }
    open.platter.call(Call::LockIndex, open.site(), work, |_| {})
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xShmBarrier);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: SQLite calls methods of open files.
    let open = unsafe { opened(file) };
    real!(open, xShmUnmap, delete)
}
