//! The module from `C_Initialize` to the end of its process, against a real HSM: every way to begin, many sessions, calls that
//! race with `C_Finalize`, unloading, forks, and an HSM that goes away and comes back.

use countersign_tests::backend::assert_signed_by;
use countersign_tests::module::copy_of_module;
use countersign_tests::raw::{Raw, with_config};
use countersign_tests::{Hsm, Keystore, User, artefacts, on_both_keystores, on_embedded};
use countersign_wire::client::Mechanism::Digest;
use cryptoki_sys::{
    CK_C_INITIALIZE_ARGS, CK_RV, CK_SESSION_HANDLE, CK_VOID_PTR, CKF_LIBRARY_CANT_CREATE_OS_THREADS,
    CKF_OS_LOCKING_OK, CKM_ECDSA, CKR_ARGUMENTS_BAD, CKR_CANT_LOCK, CKR_CRYPTOKI_ALREADY_INITIALIZED,
    CKR_CRYPTOKI_NOT_INITIALIZED, CKR_DEVICE_ERROR, CKR_DEVICE_REMOVED, CKR_GENERAL_ERROR,
    CKR_OPERATION_NOT_INITIALIZED, CKR_PIN_INCORRECT, CKR_SESSION_HANDLE_INVALID,
};
use std::collections::HashSet;
use std::process::{Command, Output, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

on_both_keystores!(sessions_by_the_hundred_sign_at_once);
on_embedded!(
    each_way_to_initialise_leads_to_a_signature_or_is_refused,
    handles_of_sessions_are_never_used_again,
    a_backend_that_opens_and_closes_sessions_for_ever_stays_as_it_was,
    calls_that_race_with_finalize_end_and_what_is_begun_anew_works,
    a_module_that_was_unloaded_can_be_loaded_again,
    a_module_that_is_unloaded_without_finalize_leaves_nothing_open,
    a_process_may_end_without_finalize,
    a_process_may_end_while_its_threads_are_in_calls,
    i2_a_child_begins_anew_and_its_parents_grant_is_its_parents,
    an_hsm_that_was_away_is_found_again_without_a_new_login,
);

/// One signature under the user's next code, in this session.
#[track_caller]
fn signs_in(hsm: &Hsm, raw: &Raw, session: CK_SESSION_HANDLE, alice: &User) {
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    raw.sign_init(session, CKM_ECDSA, key).expect("C_SignInit");
    raw.context_login(session, &alice.phone.code(hsm.advance(30))).expect("C_Login");
    let signature = raw.sign(session, &[1; 32], 64).expect("C_Sign");
    assert_signed_by(&alice.key, &[1; 32], &signature);
}

extern "C" fn create(_: *mut CK_VOID_PTR) -> CK_RV {
    CKR_GENERAL_ERROR
}

extern "C" fn use_mutex(_: CK_VOID_PTR) -> CK_RV {
    CKR_GENERAL_ERROR
}

fn each_way_to_initialise_leads_to_a_signature_or_is_refused(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let raw = Raw::load(&copy_of_module(hsm.folder()));
    let initialize = |arguments| with_config(&hsm.host_toml(), || raw.initialize_with(arguments));
    let flags = |flags| CK_C_INITIALIZE_ARGS { flags, ..Default::default() };
    // Mutexes that fail at once: one that was ever used would show.
    let with_mutexes = |flags| CK_C_INITIALIZE_ARGS {
        CreateMutex: Some(create),
        DestroyMutex: Some(use_mutex),
        LockMutex: Some(use_mutex),
        UnlockMutex: Some(use_mutex),
        flags,
        ..Default::default()
    };
    for arguments in [
        None,
        Some(flags(0)),
        Some(flags(CKF_OS_LOCKING_OK)),
        Some(flags(CKF_LIBRARY_CANT_CREATE_OS_THREADS)),
        Some(flags(CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS)),
        Some(with_mutexes(CKF_OS_LOCKING_OK)),
    ] {
        initialize(arguments).expect("C_Initialize");
        assert_eq!(initialize(arguments), Err(CKR_CRYPTOKI_ALREADY_INITIALIZED));
        let session = raw.session(hsm.api_key());
        signs_in(&hsm, &raw, session, &alice);
        raw.finalize().expect("C_Finalize");
        assert_eq!(raw.finalize(), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
    }
    let mut anything = 0;
    let reserved = CK_C_INITIALIZE_ARGS { pReserved: (&raw mut anything).cast(), ..flags(CKF_OS_LOCKING_OK) };
    let half = CK_C_INITIALIZE_ARGS { UnlockMutex: None, ..with_mutexes(CKF_OS_LOCKING_OK) };
    for (arguments, why) in
        [(reserved, CKR_ARGUMENTS_BAD), (half, CKR_ARGUMENTS_BAD), (with_mutexes(0), CKR_CANT_LOCK)]
    {
        assert_eq!(initialize(Some(arguments)), Err(why));
        assert_eq!(raw.open_session_on(0), Err(CKR_CRYPTOKI_NOT_INITIALIZED), "it did not count");
    }
}

fn handles_of_sessions_are_never_used_again(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let raw = hsm.raw();
    let first = raw.session(hsm.api_key());
    let mut seen = HashSet::from([first]);
    for round in 0..10_000 {
        let session = raw.open_session_on(0).expect("C_OpenSession");
        assert!(seen.insert(session), "handle {session} of round {round} was another session's");
        raw.close_session(session).expect("C_CloseSession");
        assert_eq!(raw.sign(session, &[1; 32], 64), Err(CKR_SESSION_HANDLE_INVALID));
    }
    // Others than the last ones, too.
    assert!(
        seen.iter().all(|old| *old == first || raw.close_session(*old) == Err(CKR_SESSION_HANDLE_INVALID))
    );
    signs_in(&hsm, &raw, first, &alice);
}

fn sessions_by_the_hundred_sign_at_once(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let users: Vec<User> = (0..8).map(|number| hsm.user(&format!("user-{number}"), &[Digest])).collect();
    let raw = hsm.raw();
    let first = raw.session(hsm.api_key());
    let sessions: Vec<_> = (0..500).map(|_| raw.open_session().expect("C_OpenSession")).collect();
    assert_eq!(sessions.iter().collect::<HashSet<_>>().len(), 500);
    let (now, together) = (hsm.now(), Barrier::new(users.len()));
    std::thread::scope(|scope| {
        for (user, own) in users.iter().zip(sessions.chunks(sessions.len() / users.len())) {
            let (raw, together) = (&raw, &together);
            scope.spawn(move || {
                let key = raw.find(own[0], &user.key.label).expect("the key is found");
                for session in own {
                    raw.sign_init(*session, CKM_ECDSA, key).expect("C_SignInit");
                }
                together.wait();
                // Of the sessions with an operation, the one with the code signs.
                let session = own[own.len() / 2];
                raw.context_login(session, &user.phone.code(now)).expect("C_Login");
                let signature = raw.sign(session, &[9; 32], 64).expect("C_Sign");
                assert_signed_by(&user.key, &[9; 32], &signature);
                raw.sign(own[0], &[9; 32], 64).expect_err("the others have none");
            });
        }
    });
    for session in sessions {
        raw.close_session(session).expect("C_CloseSession");
    }
    signs_in(&hsm, &raw, first, &users[0]);
}

/// Runs a script in Python, where there is `PyKCS11`; `alice` has a key for digests.
fn python(hsm: &Hsm, alice: &User, script: &str) -> Output {
    let now = hsm.now();
    let mut command = Command::new(artefacts::python());
    command.args(["-c", &format!("{PYTHON_OPENS}{script}")]).stdin(Stdio::null());
    command.env("COUNTERSIGN_CONFIG", hsm.host_toml()).env("MODULE", artefacts::module());
    command.env("PIN", hsm.api_key().expose()).env("CODE", alice.phone.code(now));
    command.env("NEXT_CODE", alice.phone.code_steps_off(now, 1));
    command.output().expect("Python can be started")
}

const PYTHON_OPENS: &str = "
import os
import PyKCS11
library = PyKCS11.PyKCS11Lib()
library.load(os.environ['MODULE'])
def begin():
    global session, key
    session = library.openSession(0)
    session.login(os.environ['PIN'])
    key = find(session)
def find(session):
    return session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_LABEL, 'alice/first')])[0]
def sign_init(session):
    assert session.lib.C_SignInit(session.session, PyKCS11.Mechanism(PyKCS11.CKM_ECDSA, None).to_native(), key) == 0
def sign():
    signature = PyKCS11.ckbytelist([0] * 64)
    value = session.lib.C_Sign(session.session, PyKCS11.ckbytelist([7] * 32), signature)
    return bytes(signature).hex() if value == 0 else hex(value)
begin()
";

/// The lines that a script printed.
#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_signature(line: &str, alice: &User) {
    let signature = data_encoding::HEXLOWER.decode(line.as_bytes()).unwrap_or_else(|_| panic!("{line}"));
    assert_signed_by(&alice.key, &[7; 32], &signature);
}

/// In a process of its own, where nothing else opens files or takes memory.
fn a_backend_that_opens_and_closes_sessions_for_ever_stays_as_it_was(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let output = python(
        &hsm,
        &alice,
        "
def churn(rounds):
    for _ in range(rounds):
        other = library.openSession(0)
        sign_init(other)
        other.closeSession()
def used():
    pages = int(open('/proc/self/statm').read().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE'), len(os.listdir('/proc/self/fd'))
churn(2000)
memory, files = used()
churn(20000)
print(used()[0] - memory, used()[1] - files)
session.login(os.environ['CODE'], PyKCS11.CKU_CONTEXT_SPECIFIC) if sign_init(session) is None else None
print(sign())
",
    );
    let printed = lines(&output);
    let (memory, files) = printed[0].split_once(' ').expect("two numbers");
    // 200 bytes that were left of each session would be 4 MB.
    assert!(memory.parse::<i64>().expect("a number") < 3_000_000, "{memory} bytes more than before");
    assert_eq!(files, "0", "files more than before");
    assert_signature(&printed[1], &alice);
}

fn calls_that_race_with_finalize_end_and_what_is_begun_anew_works(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let raw = hsm.raw();
    for _ in 0..10 {
        let sessions: Vec<_> = (0..4).map(|_| raw.open_session().expect("C_OpenSession")).collect();
        raw.login(sessions[0], cryptoki_sys::CKU_USER, hsm.api_key().expose().as_bytes()).expect("C_Login");
        let key = raw.find(sessions[0], &alice.key.label).expect("the key is found");
        let calls = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for (number, session) in sessions.iter().enumerate() {
                let (raw, calls) = (&raw, &calls);
                scope.spawn(move || {
                    // Calls that ask the HSM and calls that do not, until they are told that it is over.
                    let ended = loop {
                        let result = match number % 2 {
                            0 => raw.random(*session, 64).map(drop),
                            _ => raw
                                .sign_init(*session, CKM_ECDSA, key)
                                .and_then(|()| raw.sign_cancel(*session)),
                        };
                        calls.fetch_add(1, Ordering::SeqCst);
                        if let Err(value) = result {
                            break value;
                        }
                    };
                    assert_eq!(ended, CKR_CRYPTOKI_NOT_INITIALIZED);
                });
            }
            while calls.load(Ordering::SeqCst) < 40 {
                std::thread::yield_now();
            }
            raw.finalize().expect("C_Finalize");
        });
        with_config(&hsm.host_toml(), || raw.initialize()).expect("C_Initialize");
        assert_eq!(raw.sign_init(sessions[0], CKM_ECDSA, key), Err(CKR_SESSION_HANDLE_INVALID));
    }
    let session = raw.session(hsm.api_key());
    signs_in(&hsm, &raw, session, &alice);
}

fn a_module_that_was_unloaded_can_be_loaded_again(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let path = copy_of_module(hsm.folder());
    for _ in 0..3 {
        let raw = Raw::load(&path);
        with_config(&hsm.host_toml(), || raw.initialize()).expect("C_Initialize");
        let session = raw.session(hsm.api_key());
        signs_in(&hsm, &raw, session, &alice);
        raw.finalize().expect("C_Finalize");
        // Dropping it is dlclose.
    }
}

/// As pkcs11js does it: its `close` is `dlclose` alone.
fn a_module_that_is_unloaded_without_finalize_leaves_nothing_open(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    hsm.user("alice", &[Digest]);
    let script = "
import fs from 'node:fs';
import pkcs11js from 'pkcs11js';
const sockets = () => {
  const links = fs.readdirSync('/proc/self/fd').map((fd) => {
    try { return fs.readlinkSync(`/proc/self/fd/${fd}`); } catch { return ''; }
  });
  return links.filter((link) => link.startsWith('socket:')).length;
};
const before = sockets();
for (let round = 0; round < 3; round += 1) {
  const p11 = new pkcs11js.PKCS11();
  p11.load(process.env.MODULE);
  p11.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  const session = p11.C_OpenSession(p11.C_GetSlotList(true)[0], pkcs11js.CKF_SERIAL_SESSION);
  p11.C_Login(session, pkcs11js.CKU_USER, process.env.PIN);
  console.log(sockets() - before);
  p11.close();
  console.log(sockets() - before, fs.readFileSync('/proc/self/maps', 'utf8').includes('countersign_pkcs11'));
}
";
    let file = hsm.folder().join("unloads.mjs");
    std::fs::write(&file, script).expect("a file can be written");
    let packages = hsm.folder().join("node_modules");
    std::os::unix::fs::symlink(artefacts::node().join("node_modules"), packages).expect("a link can be made");
    let mut node = Command::new("node");
    node.arg(file).env("COUNTERSIGN_CONFIG", hsm.host_toml()).env("MODULE", artefacts::module());
    let output =
        node.env("PIN", hsm.api_key().expose()).stdin(Stdio::null()).output().expect("node can be started");
    assert_eq!(
        lines(&output),
        ["1", "0 false"].repeat(3),
        "one connection while it is loaded, none afterwards"
    );
}

fn a_process_may_end_without_finalize(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    // With a session open, logged in, and a code given for an operation that never ends; as exit does it, and as a kill does.
    for end in ["sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), 9)"] {
        let output = python(
            &hsm,
            &alice,
            &format!(
                "
import sys
sign_init(session)
session.login(os.environ['CODE'], PyKCS11.CKU_CONTEXT_SPECIFIC)
PyKCS11.PyKCS11Lib.__del__ = lambda self: None
print('given', flush=True)
{end}
"
            ),
        );
        assert_eq!(output.stdout, b"given\n", "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), !end.contains("kill"), "{end}: {:?}", output.status);
        hsm.advance(30);
    }
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    signs_in(&hsm, &raw, session, &alice);
}

/// Four threads that ask without end, and a `main` that returns among them: what the loader runs then meets calls at any point.
const ENDS_AMONG_CALLS: &str = r#"
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *p11;
static atomic_int calls;

static void *ask(void *session)
{
    unsigned char random[64];
    for (;;) {
        if (p11->C_GenerateRandom(*(CK_SESSION_HANDLE *)session, random, sizeof random) == CKR_OK)
            calls++;
    }
    return NULL;
}

int main(void)
{
    CK_C_GetFunctionList get;
    CK_C_INITIALIZE_ARGS arguments = { .flags = CKF_OS_LOCKING_OK };
    char *pin = getenv("PIN");
    static CK_SESSION_HANDLE sessions[4];
    pthread_t thread;
    *(void **)&get = dlsym(dlopen(getenv("MODULE"), RTLD_NOW), "C_GetFunctionList");
    if (get(&p11) != CKR_OK || p11->C_Initialize(&arguments) != CKR_OK)
        return 3;
    for (int i = 0; i < 4; i++)
        if (p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &sessions[i]) != CKR_OK)
            return 4;
    if (p11->C_Login(sessions[0], CKU_USER, (unsigned char *)pin, strlen(pin)) != CKR_OK)
        return 5;
    for (int i = 0; i < 4; i++)
        if (pthread_create(&thread, NULL, ask, &sessions[i]) != 0)
            return 6;
    while (calls < 20)
        ;
    return 0;
}
"#;

fn a_process_may_end_while_its_threads_are_in_calls(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    hsm.user("alice", &[Digest]);
    let (source, program) = (hsm.folder().join("ends.c"), hsm.folder().join("ends"));
    std::fs::write(&source, ENDS_AMONG_CALLS).expect("a file can be written");
    let mut compile = Command::new("cc");
    compile
        .args(["-Wall", "-Werror", "-pthread", "-I/usr/include/p11-kit-1", "-o"])
        .arg(&program)
        .arg(&source);
    let compiled = compile.output().expect("there is a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    for round in 0..20 {
        let mut ends = Command::new(&program);
        ends.env("COUNTERSIGN_CONFIG", hsm.host_toml()).env("MODULE", artefacts::module());
        let status = ends.env("PIN", hsm.api_key().expose()).status().expect("it can be started");
        assert_eq!(status.code(), Some(0), "round {round}: {status:?}");
    }
}

fn i2_a_child_begins_anew_and_its_parents_grant_is_its_parents(keystore: Keystore) {
    let hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let output = python(
        &hsm,
        &alice,
        "
sign_init(session)
session.login(os.environ['CODE'], PyKCS11.CKU_CONTEXT_SPECIFIC)
child = os.fork()
if child == 0:
    print(sign(), flush=True)
    assert library.lib.C_Initialize() == 0
    begin()
    sign_init(session)
    print(sign(), flush=True)
    sign_init(session)
    session.login(os.environ['NEXT_CODE'], PyKCS11.CKU_CONTEXT_SPECIFIC)
    print(sign(), flush=True)
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(sign(), flush=True)
print(sign(), flush=True)
",
    );
    let printed = lines(&output);
    let [inherited, without, childs, parents, again] = &printed[..] else { panic!("{printed:?}") };
    assert_eq!(inherited, "0x190", "CKR_CRYPTOKI_NOT_INITIALIZED");
    assert_eq!(without, "0x101", "CKR_USER_NOT_LOGGED_IN: the parent's grant is not the child's");
    assert_signature(childs, &alice);
    assert_signature(parents, &alice);
    assert_eq!(again, "0x91", "CKR_OPERATION_NOT_INITIALIZED");
}

fn an_hsm_that_was_away_is_found_again_without_a_new_login(keystore: Keystore) {
    let mut hsm = Hsm::start(keystore);
    let alice = hsm.user("alice", &[Digest]);
    let raw = hsm.raw();
    let session = raw.session(hsm.api_key());
    let key = raw.find(session, &alice.key.label).expect("the key is found");
    let others: Vec<_> = (0..20).map(|_| raw.open_session().expect("C_OpenSession")).collect();
    signs_in(&hsm, &raw, session, &alice);

    // An operation with a code, one without, and sessions with none.
    let code = alice.phone.code(hsm.advance(30));
    raw.sign_init(others[0], CKM_ECDSA, key).expect("C_SignInit");
    raw.context_login(others[0], &code).expect("C_Login");
    raw.sign_init(others[1], CKM_ECDSA, key).expect("C_SignInit");
    hsm.stop();
    assert_eq!(raw.random(session, 8), Err(CKR_DEVICE_ERROR));
    assert_eq!(raw.context_login(others[1], &code), Err(CKR_DEVICE_ERROR));
    raw.open_session().expect("a session needs no HSM");
    hsm.run();

    assert_eq!(
        raw.sign(others[0], &[1; 32], 64),
        Err(CKR_DEVICE_REMOVED),
        "its right to sign went with the HSM"
    );
    assert_eq!(raw.sign(others[0], &[1; 32], 64), Err(CKR_OPERATION_NOT_INITIALIZED), "and it is over");
    assert_eq!(raw.context_login(others[1], &code), Err(CKR_PIN_INCORRECT), "the code stays used");
    raw.context_login(others[1], &alice.phone.code(hsm.advance(30))).expect("this operation waited");
    let signature = raw.sign(others[1], &[2; 32], 64).expect("C_Sign");
    assert_signed_by(&alice.key, &[2; 32], &signature);
    for other in &others {
        raw.random(*other, 8).expect("every session is still logged in");
    }
    signs_in(&hsm, &raw, others[0], &alice);
}
