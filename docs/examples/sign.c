/*
 * Signs what a file holds through Countersign's PKCS#11 module, under one code of the key's owner.
 *
 *     sign MODULE KEY MECHANISM FILE > signature.bin
 *
 * MODULE is the path of libcountersign_pkcs11.so, KEY the key's label (alice/ethereum), MECHANISM one of digest,
 * ethereum, typed-data, message, psbt. Standard output gets r||s (64 bytes), or the signed PSBT. The API key is the value of
 * COUNTERSIGN_API_KEY; codes are read from standard input, one a line, until one is right. Neither is ever an argument.
 * Exit codes: 0 signed; 2 usage, or a file; 3 refused; 4 the HSM cannot be reached or cannot serve.
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USAGE = 2, REFUSED = 3, UNREACHABLE = 4, DATA_MAX_BYTES = 128 * 1024 };
static CK_FUNCTION_LIST *p11;

static void finalize(void)
{
    p11->C_Finalize(NULL);
}

static _Noreturn void quit(int code, const char *text)
{
    fprintf(stderr, "%s\n", text);
    exit(code);
}

/* What a person should know of a return value. "Return values" in docs/pkcs11.md has them all. */
static const char *sentence(CK_RV rv)
{
    switch (rv) {
    case CKR_PIN_INCORRECT: return "The API key is not valid on this HSM.";
    case CKR_PIN_LOCKED: return "Too many wrong codes were given. The account takes codes again later.";
    case CKR_USER_PIN_NOT_INITIALIZED: return "The account's enrolment is not finished.";
    case CKR_USER_NOT_LOGGED_IN: return "The code was given too long ago. Begin again with a new one.";
    case CKR_MECHANISM_INVALID: return "The key was not made for this mechanism.";
    case CKR_FUNCTION_REJECTED: return "The custodian's policy does not permit this. The code is spent.";
    case CKR_DATA_INVALID: return "The HSM cannot read this data, or cannot vouch for it. The code is spent.";
    case CKR_DATA_LEN_RANGE: return "A digest has 32 bytes. The code is spent.";
    case CKR_DEVICE_ERROR: return "The HSM cannot serve, or did not answer. Begin again with a new code.";
    default: return "The HSM refused.";
    }
}

static void check(const char *function, CK_RV rv)
{
    if (rv != CKR_OK) {
        fprintf(stderr, "%s (%s: 0x%08lx)\n", sentence(rv), function, rv);
        exit(rv == CKR_DEVICE_ERROR ? UNREACHABLE : REFUSED);
    }
}

static CK_MECHANISM_TYPE mechanism_named(const char *name)
{
    static const char *const names[] = { "ethereum", "typed-data", "message", "psbt" };
    if (strcmp(name, "digest") == 0)
        return CKM_ECDSA;
    for (CK_MECHANISM_TYPE i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return 0xc3530001UL + i;
    quit(USAGE, "MECHANISM is one of digest, ethereum, typed-data, message, psbt.");
}

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        quit(USAGE, dlerror());
    CK_C_GetFunctionList get;
    *(void **)&get = dlsym(library, "C_GetFunctionList"); /* as POSIX has it */
    if (get == NULL)
        quit(USAGE, "MODULE is not a PKCS#11 module.");
    check("C_GetFunctionList", get(&p11));
    CK_C_INITIALIZE_ARGS arguments = { .flags = CKF_OS_LOCKING_OK };
    check("C_Initialize", p11->C_Initialize(&arguments));
    atexit(finalize);
}

/* A session under the API key. A backend opens one for each of its threads, and logs in once. */
static CK_SESSION_HANDLE open_session(char *api_key)
{
    CK_SLOT_ID slot;
    CK_SESSION_HANDLE session;
    CK_ULONG count = 1; /* there is one slot */
    check("C_GetSlotList", p11->C_GetSlotList(CK_TRUE, &slot, &count));
    check("C_OpenSession", p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
    check("C_Login", p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)api_key, strlen(api_key)));
    return session;
}

static CK_OBJECT_HANDLE find_key(CK_SESSION_HANDLE session, char *label)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_LABEL, label, strlen(label) } };
    CK_OBJECT_HANDLE key;
    CK_ULONG count;
    check("C_FindObjectsInit", p11->C_FindObjectsInit(session, wanted, 2));
    check("C_FindObjects", p11->C_FindObjects(session, &key, 1, &count));
    check("C_FindObjectsFinal", p11->C_FindObjectsFinal(session));
    if (count == 0)
        quit(REFUSED, "There is no key of this label.");
    return key;
}

/* The context-specific login: asks for codes until one is right. A wrong one leaves the operation as it was. */
static void approve(CK_SESSION_HANDLE session, const char *label)
{
    char code[80];
    CK_RV rv;
    for (;;) {
        fprintf(stderr, "Code for %s: ", label);
        if (fgets(code, sizeof code, stdin) == NULL)
            quit(REFUSED, "No right code was given. Nothing is signed.");
        code[strcspn(code, "\r\n")] = '\0';
        rv = p11->C_Login(session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR *)code, strlen(code));
        if (rv == CKR_PIN_INCORRECT) /* counted: some wrong codes in a row lock the account */
            fputs("The code is wrong or was used before. Wait for the next one.\n", stderr);
        else if (rv == CKR_PIN_INVALID) /* not counted */
            fputs("This is not a code.\n", stderr);
        else
            break;
    }
    check("C_Login", rv);
}

int main(int argc, char **argv)
{
    static CK_BYTE data[DATA_MAX_BYTES + 1];
    char *api_key = getenv("COUNTERSIGN_API_KEY");
    if (argc != 5 || api_key == NULL)
        quit(USAGE, "usage: COUNTERSIGN_API_KEY=... sign MODULE KEY MECHANISM FILE > signature.bin");
    CK_MECHANISM mechanism = { mechanism_named(argv[3]), NULL, 0 };
    FILE *file = fopen(argv[4], "rb");
    CK_ULONG length = file == NULL ? 0 : fread(data, 1, sizeof data, file);
    if (file == NULL || ferror(file) || length > DATA_MAX_BYTES)
        quit(USAGE, "FILE cannot be read, or is longer than 128 KiB.");
    load(argv[1]);
    CK_SESSION_HANDLE session = open_session(api_key);
    check("C_SignInit", p11->C_SignInit(session, &mechanism, find_key(session, argv[2])));
    CK_ULONG room; /* 64 for r||s; for a PSBT 27,648 more than its length. This query signs and spends nothing. */
    check("C_Sign", p11->C_Sign(session, data, length, NULL, &room));
    CK_BYTE *signature = malloc(room);
    if (signature == NULL)
        quit(USAGE, "There is no memory.");
    approve(session, argv[2]);
    check("C_Sign", p11->C_Sign(session, data, length, signature, &room)); /* `room` is now what was needed of it */
    int status = fwrite(signature, 1, room, stdout) == room && fflush(stdout) == 0 ? 0 : USAGE;
    free(signature);
    return status;
}
