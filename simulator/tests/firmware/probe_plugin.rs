//! A plugin that does what it is told, to see what the sandbox lets it do. The tests compile it as a static
//! executable with the standard library alone, and pack it as an image.
//!
//! A request is a line of text, a command and its argument; see `obey`.

use std::collections::BTreeMap;
use std::ffi::{CString, c_int, c_long, c_ulong, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::Instant;

unsafe extern "C" {
    fn mlockall(flags: c_int) -> c_int;
    fn prctl(option: c_int, argument: c_ulong) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn write(fd: c_int, bytes: *const c_void, length: usize) -> isize;
    fn mmap(
        at: *mut c_void,
        length: usize,
        access: c_int,
        flags: c_int,
        fd: c_int,
        offset: c_long,
    ) -> *mut c_void;
}

/// As much of CBOR as the messages between plugin and firmware use.
#[derive(Clone, Debug)]
enum Cbor {
    Number(u64),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Cbor>),
    Map(Vec<(Cbor, Cbor)>),
    Other,
}

impl Cbor {
    fn read(from: &mut &[u8]) -> Self {
        let first = take(from, 1)[0];
        let length = match first & 31 {
            small @ 0..=23 => u64::from(small),
            wide => take(from, 1 << (wide - 24)).iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        };
        let count = length as usize;
        match first >> 5 {
            0 => Cbor::Number(length),
            2 => Cbor::Bytes(take(from, count).to_vec()),
            3 => Cbor::Text(String::from_utf8(take(from, count).to_vec()).unwrap()),
            4 => Cbor::List((0..count).map(|_| Cbor::read(from)).collect()),
            5 => Cbor::Map((0..count).map(|_| (Cbor::read(from), Cbor::read(from))).collect()),
            _ => Cbor::Other,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Cbor::Number(value) => head(0, *value, to),
            Cbor::Bytes(bytes) => {
                head(2, bytes.len() as u64, to);
                to.extend(bytes);
            }
            Cbor::Text(text) => {
                head(3, text.len() as u64, to);
                to.extend(text.as_bytes());
            }
            Cbor::List(items) => {
                head(4, items.len() as u64, to);
                items.iter().for_each(|item| item.write(to));
            }
            Cbor::Map(entries) => {
                head(5, entries.len() as u64, to);
                for (key, value) in entries {
                    key.write(to);
                    value.write(to);
                }
            }
            Cbor::Other => unreachable!("never written"),
        }
    }

    fn field(&self, index: u64) -> &Cbor {
        let Cbor::Map(entries) = self else { panic!("not a struct: {self:?}") };
        let found = entries.iter().find(|(key, _)| matches!(key, Cbor::Number(number) if *number == index));
        &found.unwrap_or_else(|| panic!("no field {index}: {self:?}")).1
    }

    /// A variant with content is a map of its number to the content.
    fn variant(&self) -> (u64, &Cbor) {
        match self {
            Cbor::Map(entries) => match &entries[..] {
                [(Cbor::Number(number), content)] => (*number, content),
                other => panic!("not a variant: {other:?}"),
            },
            other => panic!("not a variant: {other:?}"),
        }
    }

    fn number(&self) -> u64 {
        let Cbor::Number(number) = self else { panic!("not a number: {self:?}") };
        *number
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(count);
    *from = rest;
    taken
}

fn head(major: u8, value: u64, to: &mut Vec<u8>) {
    match value {
        0..=23 => to.push(major << 5 | value as u8),
        24..=0xff => to.extend([major << 5 | 24, value as u8]),
        0x100..=0xffff => {
            to.push(major << 5 | 25);
            to.extend((value as u16).to_be_bytes());
        }
        _ => {
            to.push(major << 5 | 26);
            to.extend((value as u32).to_be_bytes());
        }
    }
}

fn structure(fields: Vec<Cbor>) -> Cbor {
    Cbor::Map((0..).map(Cbor::Number).zip(fields).collect())
}

fn variant(number: u64, content: Cbor) -> Cbor {
    Cbor::Map(vec![(Cbor::Number(number), content)])
}

// The numbers of `hal::Output`, `hal::Event` and `hal::Op`, in the order in which they stand there.
const READY: u64 = 0;
const HALT: u64 = 1;
const REPLY: u64 = 2;
const CALL: u64 = 3;
const REQUEST: u64 = 1;
const DONE: u64 = 2;
const RANDOM: u64 = 0;
const COMMIT: u64 = 3;

/// Writes to the socket, which is standard input.
fn send_bytes(bytes: &[u8]) {
    let mut sent = 0;
    while sent < bytes.len() {
        // SAFETY: the pointer and the length are those of the rest of a slice that lives.
        let written = unsafe { write(0, bytes[sent..].as_ptr().cast(), bytes.len() - sent) };
        sent += usize::try_from(written).expect("the firmware reads");
    }
}

fn framed(message: &Cbor) -> Vec<u8> {
    let mut payload = Vec::new();
    message.write(&mut payload);
    let mut frame = (payload.len() as u32).to_be_bytes().to_vec();
    frame.extend(payload);
    frame
}

fn send(message: &Cbor) {
    send_bytes(&framed(message));
}

fn receive() -> Cbor {
    let mut header = [0; 4];
    if std::io::stdin().read_exact(&mut header).is_err() {
        std::process::exit(0);
    }
    let mut payload = vec![0; u32::from_be_bytes(header) as usize];
    std::io::stdin().read_exact(&mut payload).unwrap();
    Cbor::read(&mut payload.as_slice())
}

fn replied(ticket: u64, text: &str) -> Cbor {
    variant(REPLY, structure(vec![Cbor::Number(ticket), Cbor::Bytes(text.as_bytes().to_vec())]))
}

fn reply(ticket: u64, text: &str) {
    send(&replied(ticket, text));
}

fn called(number: u64, op: Cbor) -> Cbor {
    variant(CALL, structure(vec![Cbor::Number(number), op]))
}

fn halted(why: &str) -> Cbor {
    variant(HALT, structure(vec![Cbor::Text(why.to_owned())]))
}

fn halt(why: &str) {
    send(&halted(why));
}

/// Tries to become another program, in the one form in which the sandbox lets the call through: the descriptor of the
/// executable, which the kernel ignores if the path is absolute. Returns the error.
fn exec(path: &str) -> String {
    let path = CString::new(path).unwrap();
    let nothing = [std::ptr::null::<c_void>()];
    // SAFETY: path and lists end in nul. SYS_execveat on x86-64; AT_EMPTY_PATH.
    unsafe { syscall(322, 3, path.as_ptr(), nothing.as_ptr(), nothing.as_ptr(), 0x1000) };
    format!("{:?}", std::io::Error::last_os_error().raw_os_error())
}

struct Plugin {
    nvram: String,
    store_bytes: u64,
    missing_layers: Vec<String>,
    /// Which ticket waits for which call.
    calls: BTreeMap<u64, u64>,
    /// Halts when the next call was answered.
    halts: bool,
}

impl Plugin {
    fn boot() -> Self {
        // SAFETY: both change only how the kernel treats this process. MCL_CURRENT | MCL_FUTURE; PR_SET_DUMPABLE.
        unsafe {
            let locked = mlockall(3);
            assert!(locked == 0 || std::io::Error::last_os_error().raw_os_error() == Some(13));
            assert_eq!(prctl(4, 0), 0);
        }
        // It locks its code and constants too; the firmware's list says nothing new to it.
        send(&structure(Vec::new()));
        receive();
        if cfg!(deaf) {
            // It reads nothing more.
            std::io::stderr().write_all(b"deaf\n").unwrap();
            loop {
                std::hint::spin_loop();
            }
        }
        let delivery = receive();
        let Cbor::Map(event) = delivery.field(1) else { panic!("event") };
        let boot = &event[0].1;
        let nvram = match boot.field(5) {
            Cbor::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            _ => String::new(),
        };
        let Cbor::List(layers) = boot.field(9) else { panic!("missing_sandbox_layers") };
        let words = layers.iter().map(|layer| match layer {
            Cbor::Text(word) => word.clone(),
            other => panic!("{other:?}"),
        });
        let missing_layers = words.collect();
        Self { nvram, store_bytes: boot.field(6).field(1).number(), missing_layers, calls: BTreeMap::new(), halts: false }
    }

    fn obey(&mut self, ticket: u64, request: &str) {
        let (command, argument) = request.split_once(' ').unwrap_or((request, ""));
        let answer = match command {
            "echo" => argument.to_owned(),
            "big" => "x".repeat(argument.parse().unwrap()),
            "boot" => format!(
                "nvram={} store={} missing={}",
                self.nvram,
                self.store_bytes,
                self.missing_layers.join(",")
            ),
            "random" => {
                let length = argument.parse().unwrap();
                return self.call(ticket, variant(RANDOM, structure(vec![Cbor::Number(length)])));
            }
            "commit" | "commit-and-halt" => {
                self.halts = command == "commit-and-halt";
                return self.commit(ticket, argument);
            }
            "ignore" => return,
            "garbage" => return send_bytes(&[0, 0, 0, 1, 0xff]),
            "exit" => std::process::exit(0),
            "halt" => return halt(argument),
            "halt-and-go-on" => {
                // In one write, so that the firmware reads all of it together.
                let commit = called(ticket + 1000, self.commit_op("more"));
                let last = [halted(argument), replied(ticket, "after it halted"), commit];
                return send_bytes(&last.iter().flat_map(framed).collect::<Vec<_>>());
            }
            "ready-again" => return send(&Cbor::Number(READY)),
            "stderr" => {
                std::io::stderr().write_all(argument.as_bytes()).unwrap();
                "written".to_owned()
            }
            "fill" => {
                // Takes and touches this many MiB.
                vec![1_u8; argument.parse::<usize>().unwrap() << 20]
                    .iter()
                    .map(|byte| u64::from(*byte))
                    .sum::<u64>()
                    .to_string()
            }
            "open" => format!("{:?}", File::open(argument).map(drop).map_err(|error| error.raw_os_error())),
            "create" => {
                format!("{:?}", File::create(argument).map(drop).map_err(|error| error.raw_os_error()))
            }
            "exec" => exec(argument),
            forbidden => self.dare(forbidden),
        };
        reply(ticket, &answer);
    }

    /// What the sandbox must not let happen. To come back from here is a breach.
    fn dare(&self, what: &str) -> String {
        match what {
            "unix-socket" => drop(UnixStream::connect("/run/nowhere")),
            "udp-socket" => drop(UdpSocket::bind("127.0.0.1:0")),
            "clock" => drop(Instant::now()),
            "thread" => drop(std::thread::spawn(|| {})),
            "process" => drop(std::process::Command::new("/bin/true").status()),
            "list" => drop(std::fs::remove_file("/etc/hostname")),
            // SAFETY: the counter may always be read, where the kernel does not forbid it.
            "counter" => drop(unsafe { std::arch::x86_64::_rdtsc() }),
            // SAFETY: new memory harms nobody. PROT_READ | PROT_WRITE | PROT_EXEC; MAP_PRIVATE | MAP_ANONYMOUS.
            "code" => drop(unsafe { mmap(std::ptr::null_mut(), 4096, 7, 0x22, -1, 0) }),
            // SAFETY: changes only how the kernel treats this process. PR_SET_TSC, PR_TSC_ENABLE.
            "allow-counter" => drop(unsafe { prctl(26, 1) }),
            // SAFETY: as above. PR_SET_DUMPABLE, 1.
            "allow-dump" => drop(unsafe { prctl(4, 1) }),
            other => panic!("unknown command {other}"),
        }
        format!("BREACH: {what}")
    }

    fn commit_op(&mut self, text: &str) -> Cbor {
        let bytes = Cbor::Bytes(text.as_bytes().to_vec());
        let offset = Cbor::Number(self.store_bytes);
        self.store_bytes += text.len() as u64;
        variant(COMMIT, structure(vec![offset, bytes.clone(), bytes, Cbor::Number(0)]))
    }

    fn commit(&mut self, ticket: u64, text: &str) {
        let op = self.commit_op(text);
        self.call(ticket, op);
    }

    fn call(&mut self, ticket: u64, op: Cbor) {
        let number = ticket + 1000;
        self.calls.insert(number, ticket);
        send(&called(number, op));
    }
}

fn main() {
    let mut plugin = Plugin::boot();
    if let Some(why) = plugin.nvram.strip_prefix("refuse ") {
        return halt(why);
    }
    if plugin.nvram == "vanish" || plugin.nvram == "give up" {
        let last = if plugin.nvram == "vanish" { vec![] } else { vec![halted("enough")] };
        // This once it ends as soon as it is ready.
        plugin.commit(0, "back");
        receive();
        let last = [Cbor::Number(READY)].iter().chain(&last).flat_map(framed).collect::<Vec<_>>();
        return send_bytes(&last);
    }
    if plugin.nvram == "die" {
        return;
    }
    send(&Cbor::Number(READY));
    loop {
        let delivery = receive();
        match delivery.field(1).variant() {
            (REQUEST, request) => {
                let Cbor::Bytes(payload) = request.field(1) else { panic!("payload") };
                let text = String::from_utf8_lossy(payload).into_owned();
                plugin.obey(request.field(0).number(), &text);
            }
            (DONE, done) => {
                let ticket = plugin.calls.remove(&done.field(0).number()).expect("a call that was made");
                reply(ticket, &format!("{:?}", done.field(1)));
                if std::mem::take(&mut plugin.halts) {
                    halt("what was committed is not known");
                }
            }
            other => panic!("{other:?}"),
        }
    }
}
