// Signs what a file holds through Countersign's PKCS#11 module, under one code of the key's owner.
//
//	sign MODULE KEY MECHANISM FILE > signature.bin
//
// MODULE is the path of libcountersign_pkcs11.so, KEY the key's label (alice/ethereum), MECHANISM one of digest,
// ethereum, typed-data, message, psbt. Standard output gets r‖s (64 bytes), or the signed PSBT. The API key is the value of
// COUNTERSIGN_API_KEY; codes are read from standard input, one a line, until one is right. Neither is ever an argument.
//
// Exit codes: 0 signed; 2 usage, or a file; 3 refused; 4 the HSM cannot be reached or cannot serve.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"

	"github.com/miekg/pkcs11"
)

var mechanisms = map[string]uint{
	"digest": pkcs11.CKM_ECDSA, "ethereum": 0xc3530001, "typed-data": 0xc3530002, "message": 0xc3530003, "psbt": 0xc3530004,
}

// What a person should know of a return value. "Return values" in docs/pkcs11.md has them all.
var sentences = map[pkcs11.Error]string{
	pkcs11.CKR_PIN_INCORRECT:            "The API key is not valid on this HSM.",
	pkcs11.CKR_PIN_LOCKED:               "Too many wrong codes were given. The account takes codes again later.",
	pkcs11.CKR_USER_PIN_NOT_INITIALIZED: "The account's enrolment is not finished.",
	pkcs11.CKR_USER_NOT_LOGGED_IN:       "The code was given too long ago. Begin again with a new one.",
	pkcs11.CKR_MECHANISM_INVALID:        "The key was not made for this mechanism.",
	pkcs11.CKR_FUNCTION_REJECTED:        "The custodian's policy does not permit this. The code is spent.",
	pkcs11.CKR_DATA_INVALID:             "The HSM cannot read this data, or cannot vouch for it. The code is spent.",
	pkcs11.CKR_DATA_LEN_RANGE:           "A digest has 32 bytes. The code is spent.",
	pkcs11.CKR_DEVICE_ERROR:             "The HSM cannot serve, or did not answer. Begin again with a new code.",
}

var (
	errNoKey  = errors.New("There is no key of this label.")
	errNoCode = errors.New("No right code was given. Nothing is signed.")
)

func findKey(p *pkcs11.Ctx, session pkcs11.SessionHandle, label string) (pkcs11.ObjectHandle, error) {
	wanted := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	}
	if err := p.FindObjectsInit(session, wanted); err != nil {
		return 0, err
	}
	found, _, err := p.FindObjects(session, 1)
	if err == nil {
		err = p.FindObjectsFinal(session)
	}
	if err == nil && len(found) == 0 {
		err = errNoKey
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}

// The context-specific login: asks for codes until one is right. A wrong one leaves the operation as it was.
func approve(p *pkcs11.Ctx, session pkcs11.SessionHandle, label string) error {
	lines := bufio.NewScanner(os.Stdin)
	for {
		fmt.Fprintf(os.Stderr, "Code for %s: ", label)
		if !lines.Scan() {
			return errNoCode
		}
		switch err := p.Login(session, pkcs11.CKU_CONTEXT_SPECIFIC, lines.Text()); err {
		case pkcs11.Error(pkcs11.CKR_PIN_INCORRECT): // Counted: some wrong codes in a row lock the account.
			fmt.Fprintln(os.Stderr, "The code is wrong or was used before. Wait for the next one.")
		case pkcs11.Error(pkcs11.CKR_PIN_INVALID): // Not counted.
			fmt.Fprintln(os.Stderr, "This is not a code.")
		default:
			return err
		}
	}
}

func sign(p *pkcs11.Ctx, apiKey, label string, mechanism uint, data []byte) ([]byte, error) {
	if err := p.Initialize(); err != nil {
		return nil, err
	}
	defer p.Finalize()
	slots, err := p.GetSlotList(true)
	if err != nil {
		return nil, err
	}
	session, err := p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, err
	}
	if err := p.Login(session, pkcs11.CKU_USER, apiKey); err != nil {
		return nil, err
	}
	key, err := findKey(p, session, label)
	if err != nil {
		return nil, err
	}
	if err := p.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, key); err != nil {
		return nil, err
	}
	if err := approve(p, session, label); err != nil {
		return nil, err
	}
	// Asks for the size first, which neither signs nor spends anything.
	return p.Sign(session, data)
}

func run() int {
	apiKey, isSet := os.LookupEnv("COUNTERSIGN_API_KEY")
	if len(os.Args) != 5 || mechanisms[os.Args[3]] == 0 || !isSet {
		fmt.Fprintln(os.Stderr, "usage: COUNTERSIGN_API_KEY=... sign MODULE KEY MECHANISM FILE > signature.bin")
		return 2
	}
	data, err := os.ReadFile(os.Args[4])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	p := pkcs11.New(os.Args[1])
	if p == nil {
		fmt.Fprintln(os.Stderr, "The module cannot be loaded.")
		return 2
	}
	defer p.Destroy()
	signature, err := sign(p, apiKey, os.Args[2], mechanisms[os.Args[3]], data)
	var value pkcs11.Error
	if errors.As(err, &value) {
		sentence := sentences[value]
		if sentence == "" {
			sentence = "The HSM refused."
		}
		fmt.Fprintf(os.Stderr, "%s (%v)\n", sentence, err)
		if value == pkcs11.CKR_DEVICE_ERROR {
			return 4
		}
		return 3
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	os.Stdout.Write(signature)
	return 0
}

func main() {
	os.Exit(run())
}
