//! Threads, forks, and both at once.

use crate::application::{Application, CODE, call};
use crate::fake_hsm::api_key;
use cryptoki_sys::*;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Runs `child` in a forked process. It returns what did not go as it should, or nothing.
fn in_child(child: impl FnOnce() -> Option<&'static str>) {
    // SAFETY: the child uses nothing that another thread may have locked but the allocator, which the C library
    // makes usable after a fork, and what is tested here. It leaves without unwinding or running destructors.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            nix::unistd::alarm::set(60);
            let wrong = child();
            if let Some(wrong) = wrong {
                let line = format!("in the child: {wrong}\n");
                // SAFETY: the line lives, and is as long as said.
                unsafe { nix::libc::write(2, line.as_ptr().cast(), line.len()) };
            }
            // SAFETY: ends this process at once.
            unsafe { nix::libc::_exit(i32::from(wrong.is_some())) }
        }
        ForkResult::Parent { child } => {
            assert_eq!(
                waitpid(child, None).unwrap(),
                WaitStatus::Exited(child, 0),
                "a signal means that it hung"
            );
        }
    }
}

/// What a child must be able to do, whatever its parent was doing.
fn live_anew(application: &Application, session: CK_SESSION_HANDLE, code: &str) -> Option<&'static str> {
    let mut info = CK_INFO::default();
    if call!(application, C_GetInfo(&raw mut info)) != CKR_CRYPTOKI_NOT_INITIALIZED {
        return Some("C_GetInfo before C_Initialize");
    }
    if application.sign(session, &[7; 32]) != Err(CKR_CRYPTOKI_NOT_INITIALIZED) {
        return Some("C_Sign with the parent's session");
    }
    if application.finalize() != CKR_CRYPTOKI_NOT_INITIALIZED {
        return Some("C_Finalize before C_Initialize");
    }
    if application.initialize() != CKR_OK {
        return Some("C_Initialize");
    }
    if application.session_state(session) != Err(CKR_SESSION_HANDLE_INVALID) {
        return Some("the parent's session after C_Initialize");
    }
    let own = application.open();
    if application.session_state(own) != Ok(CKS_RW_PUBLIC_SESSION) {
        return Some("the parent's login after C_Initialize");
    }
    if application.log_in(own) != CKR_OK {
        return Some("C_Login");
    }
    application.begin_digest_in_child(own);
    if application.give_code(own, code) != CKR_OK {
        return Some("C_Login with a code");
    }
    if application.sign(own, &[7; 32]).is_err() {
        return Some("C_Sign");
    }
    (application.finalize() != CKR_OK).then_some("C_Finalize")
}

#[test]
fn a_forked_child_starts_anew_and_leaves_its_parent_alone() {
    let (application, session) = Application::logged_in();
    application.approve_digest(session);
    application.hsm.allow_code("222222");
    in_child(|| live_anew(&application, session, "222222"));
    assert_eq!(application.hsm.grants(), 1, "the child ended nothing of its parent's");
    assert!(application.sign(session, &[7; 32]).is_ok());
}

/// How many sockets this process has open.
fn open_sockets() -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn a_child_closes_its_copies_of_the_parents_connections() {
    let (application, session) = Application::logged_in();
    in_child(|| {
        let inherited = open_sockets();
        if application.initialize() != CKR_OK {
            return Some("C_Initialize");
        }
        // There is one idle connection: the login went over it.
        (open_sockets() != inherited - 1).then_some("a connection of its parent's is still open")
    });
    application.approve_digest(session);
    assert!(application.sign(session, &[7; 32]).is_ok(), "the parent's connection works");
}

#[test]
fn a_grandchild_starts_anew_too() {
    let application = Application::start();
    let session = application.open();
    application.hsm.allow_code("222222");
    application.hsm.allow_code("333333");
    in_child(|| {
        let wrong = live_anew(&application, session, "222222");
        if wrong.is_none() && application.initialize() == CKR_OK {
            in_child(|| live_anew(&application, session, "333333"));
        }
        wrong
    });
}

#[test]
fn a_child_never_hangs_on_what_its_parents_threads_had_locked() {
    let (application, session) = Application::logged_in();
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    for round in 0..10 {
        application.hsm.allow_code(&format!("00000{round}"));
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let own = application.open();
                    application.find(own, &mut []);
                    assert_eq!(call!(application, C_CloseSession(own)), CKR_OK);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while rounds.load(Ordering::Relaxed) < 20 {
            thread::yield_now();
        }
        for round in 0..10 {
            in_child(|| live_anew(&application, session, &format!("00000{round}")));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn i7_the_log_is_off_unless_wanted_and_never_holds_a_secret() {
    let application = Application::load();
    let api_key = api_key();
    for wanted in [false, true] {
        let log = tempfile::NamedTempFile::new().unwrap();
        in_child(|| {
            // SAFETY: this process has one thread, and nothing else uses the environment.
            unsafe { std::env::set_var("COUNTERSIGN_LOG", if wanted { "1" } else { "" }) };
            nix::unistd::dup2_stderr(&log).unwrap();
            if application.initialize() != CKR_OK {
                return Some("C_Initialize");
            }
            let session = application.open();
            application.log_in(session);
            application.log_in(session);
            application.begin_digest_in_child(session);
            application.give_code(session, "987654");
            application.login_as(session, CKU_CONTEXT_SPECIFIC, api_key.expose().as_bytes());
            application.sign(session, b"0123456789abcdef0123456789abcdef").ok();
            (application.finalize() != CKR_OK).then_some("C_Finalize")
        });
        let log = std::fs::read_to_string(log.path()).unwrap();
        assert_eq!(log.contains("countersign: C_Login: return value 0xa0: wrong-code: "), wanted, "{log}");
        assert_eq!(log.is_empty(), !wanted, "{log}");
        for secret in ["987654", api_key.expose(), "abab", "0123456789", "user-0000"] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}

#[test]
fn i2_of_sixteen_threads_with_one_code_one_signs() {
    let (application, session) = Application::logged_in();
    let key = application.private_key(session, "user-0000/digest");
    application.hsm.allow_code(CODE);
    let together = Barrier::new(16);
    let signatures = thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let own = application.open();
                    assert_eq!(application.sign_init(own, CKM_ECDSA, key), CKR_OK);
                    together.wait();
                    let login = application.give_code(own, CODE);
                    let signature = application.sign(own, &[7; 32]);
                    assert_eq!(login == CKR_OK, signature.is_ok());
                    usize::from(signature.is_ok())
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert_eq!(signatures, 1);
}

#[test]
fn of_threads_that_share_one_session_one_code_and_one_signature_count() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    let codes: Vec<String> = (0..8).map(|number| format!("11111{number}")).collect();
    for code in &codes {
        application.hsm.allow_code(code);
    }
    let together = Barrier::new(codes.len());
    let (logins, signatures) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for code in &codes {
            scope.spawn(|| {
                together.wait();
                count(application.give_code(session, code), CKR_USER_ALREADY_LOGGED_IN, &logins);
                together.wait();
                if application.sign(session, &[7; 32]).is_ok() {
                    signatures.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((logins.into_inner(), signatures.into_inner()), (1, 1));
    assert_eq!(application.hsm.asked(), ["context-login", "context-sign"], "seven codes are still good");
}

#[test]
fn sessions_do_not_wait_for_each_other() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    application.hsm.hold("context-login");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| application.give_code(session, CODE));
        application.hsm.wait_for_held(1);
        let other = application.open();
        assert_eq!(application.find(other, &mut []).len(), 12);
        application.begin_digest(other);
        assert_eq!(application.sign(other, &[7; 32]), Err(CKR_USER_NOT_LOGGED_IN));
        assert_eq!(call!(application, C_CloseSession(other)), CKR_OK);
        application.hsm.release();
        assert_eq!(waiting.join().unwrap(), CKR_OK);
    });
}

#[test]
fn a_session_that_is_closed_during_its_login_logs_nobody_in() {
    let application = Application::start();
    let session = application.open();
    application.hsm.hold("login");
    thread::scope(|scope| {
        let login = scope.spawn(|| application.log_in(session));
        application.hsm.wait_for_held(1);
        assert_eq!(call!(application, C_CloseSession(session)), CKR_OK);
        let other = application.open();
        application.hsm.release();
        assert_eq!(login.join().unwrap(), CKR_SESSION_HANDLE_INVALID);
        assert_eq!(application.session_state(other), Ok(CKS_RW_PUBLIC_SESSION));
    });
}

#[test]
fn finalize_waits_for_the_login_under_way_and_gives_its_grant_back() {
    let (application, session) = Application::logged_in();
    application.begin_digest(session);
    application.hsm.allow_code(CODE);
    application.hsm.acts();
    application.hsm.hold("context-login");
    thread::scope(|scope| {
        let login = scope.spawn(|| application.give_code(session, CODE));
        application.hsm.wait_for_held(1);
        let finalize = scope.spawn(|| application.finalize());
        let mut info = CK_INFO::default();
        while call!(application, C_GetInfo(&raw mut info)) != CKR_CRYPTOKI_NOT_INITIALIZED {
            thread::yield_now();
        }
        application.hsm.release();
        assert_eq!(login.join().unwrap(), CKR_OK);
        assert_eq!(finalize.join().unwrap(), CKR_OK);
    });
    assert_eq!(application.hsm.asked(), ["context-login", "context-end"]);
    assert_eq!(application.hsm.grants(), 0);
}

#[test]
fn finalize_returns_only_once_the_signature_under_way_has_its_answer() {
    let application = Application::start();
    // A `C_Finalize` that does not wait could by chance return late enough once, but not each time.
    for round in 0..20 {
        let session = application.open();
        assert_eq!(application.log_in(session), CKR_OK);
        application.begin_digest(session);
        let code = format!("0000{round:02}");
        application.hsm.allow_code(&code);
        assert_eq!(application.give_code(session, &code), CKR_OK);
        application.hsm.hold("context-sign");
        let released = AtomicBool::new(false);
        thread::scope(|scope| {
            let sign = scope.spawn(|| application.sign(session, &[7; 32]));
            application.hsm.wait_for_held(1);
            let finalize = scope.spawn(|| (application.finalize(), released.load(Ordering::SeqCst)));
            let mut info = CK_INFO::default();
            while call!(application, C_GetInfo(&raw mut info)) != CKR_CRYPTOKI_NOT_INITIALIZED {
                thread::yield_now();
            }
            released.store(true, Ordering::SeqCst);
            application.hsm.release();
            assert!(sign.join().unwrap().is_ok());
            assert_eq!(finalize.join().unwrap(), (CKR_OK, true));
        });
        assert_eq!(application.initialize(), CKR_OK);
    }
}

#[test]
fn initialize_and_finalize_may_race_with_everything() {
    let application = Application::load();
    let (made, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for number in 0..8 {
            let (application, made, ended) = (&application, &made, &ended);
            scope.spawn(move || {
                for _ in 0..200 {
                    match number % 4 {
                        0 => count(application.initialize(), CKR_CRYPTOKI_ALREADY_INITIALIZED, made),
                        1 => count(application.finalize(), CKR_CRYPTOKI_NOT_INITIALIZED, ended),
                        _ => use_for_a_moment(application),
                    }
                }
            });
        }
    });
    let left = usize::from(application.finalize() == CKR_OK);
    assert_eq!(made.into_inner(), ended.into_inner() + left);
}

fn count(rv: CK_RV, otherwise: CK_RV, successes: &AtomicUsize) {
    if rv == CKR_OK {
        successes.fetch_add(1, Ordering::Relaxed);
    } else {
        assert_eq!(rv, otherwise);
    }
}

/// Any of these may come too early or too late; none may crash, hang or return what it cannot mean.
fn use_for_a_moment(application: &Application) {
    let mut session = 0;
    let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    let rv = call!(application, C_OpenSession(0, flags, ptr::null_mut(), None, &raw mut session));
    if rv != CKR_OK {
        assert_eq!(rv, CKR_CRYPTOKI_NOT_INITIALIZED);
        return;
    }
    let rv = application.log_in(session);
    let late = [CKR_USER_ALREADY_LOGGED_IN, CKR_SESSION_HANDLE_INVALID, CKR_CRYPTOKI_NOT_INITIALIZED];
    assert!(rv == CKR_OK || late.contains(&rv), "0x{rv:x}");
    call!(application, C_CloseSession(session));
}
