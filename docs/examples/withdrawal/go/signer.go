package main

import (
	"errors"
	"net/http"

	"github.com/miekg/pkcs11"
)

const (
	ckmCountersignEthereum        = 0xc3530001
	ckaCountersignEthereumAddress = 0xc3530001
)

// refused is what is answered instead: the status, a word for programs, a sentence for the user.
type refused struct {
	status         int
	word, sentence string
}

func (r *refused) Error() string { return r.sentence }

var (
	notACode = &refused{http.StatusBadRequest, "not-a-code", "This is not a code. Type the digits that your authenticator shows."}
	denied   = &refused{http.StatusForbidden, "policy", "The policy does not permit this withdrawal. It is closed."}
	// A lock, a budget used up, a freeze: another code helps against none of them.
	locked = &refused{http.StatusTooManyRequests, "locked", "No code is taken now: too many were wrong, which passes with time, or the user has frozen the account. " +
		"The withdrawal is kept. If it lasts, look at the account, or ask the custodian."}
)

// What is answered for a return value. All others are ours to mend.
var refusals = map[pkcs11.Error]*refused{
	pkcs11.CKR_PIN_INCORRECT:      {http.StatusForbidden, "wrong-code", "The code is wrong or was used before. Try the next code."},
	pkcs11.CKR_PIN_INVALID:        notACode,
	pkcs11.CKR_PIN_LOCKED:         locked,
	pkcs11.CKR_USER_NOT_LOGGED_IN: {http.StatusConflict, "not-approved", "The user has not approved exactly this on his device, or too long ago."},
	pkcs11.CKR_FUNCTION_REJECTED:  denied,
	pkcs11.CKR_DEVICE_ERROR:       {http.StatusServiceUnavailable, "hsm", "The HSM cannot be reached. The withdrawal is kept; try again with the next code."},
	pkcs11.CKR_DEVICE_REMOVED:     {http.StatusServiceUnavailable, "hsm", "The HSM was restarted. The withdrawal is kept; try again with the next code."},
	pkcs11.CKR_FUNCTION_FAILED:    {http.StatusServiceUnavailable, "hsm", "The HSM is busy. The withdrawal is kept; try again with the next code."},
}

// signer is one key behind the module. It opens a session for each signature; one that stays keeps the login.
type signer struct {
	p             *pkcs11.Ctx
	slot          uint
	apiKey, label string
}

func newSigner(module, apiKey, label string) (*signer, error) {
	p := pkcs11.New(module)
	if p == nil {
		return nil, errors.New("the module cannot be loaded")
	}
	if err := p.Initialize(); err != nil {
		return nil, err
	}
	slots, err := p.GetSlotList(true)
	if err != nil {
		return nil, err
	}
	_, err = p.OpenSession(slots[0], pkcs11.CKF_SERIAL_SESSION)
	return &signer{p, slots[0], apiKey, label}, err
}

func (s *signer) withKey(act func(pkcs11.SessionHandle, pkcs11.ObjectHandle) error) error {
	session, err := s.p.OpenSession(s.slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return err
	}
	defer s.p.CloseSession(session) // ends an operation that a wrong code left open
	err = s.p.Login(session, pkcs11.CKU_USER, s.apiKey)
	if err != nil && err != pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		return &refused{http.StatusServiceUnavailable, "hsm", "The HSM cannot serve. The withdrawal is kept; try again."}
	}
	key, err := s.find(session)
	if err == nil {
		err = act(session, key)
	}
	var value pkcs11.Error
	if errors.As(err, &value) && refusals[value] != nil {
		return refusals[value]
	}
	return err
}

func (s *signer) find(session pkcs11.SessionHandle) (pkcs11.ObjectHandle, error) {
	wanted := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, s.label),
	}
	if err := s.p.FindObjectsInit(session, wanted); err != nil {
		return 0, err
	}
	found, _, err := s.p.FindObjects(session, 1)
	if err != nil {
		return 0, err
	}
	if err := s.p.FindObjectsFinal(session); err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, errors.New("there is no key " + s.label)
	}
	return found[0], nil
}

func (s *signer) address() (address string, err error) {
	err = s.withKey(func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		wanted := []*pkcs11.Attribute{pkcs11.NewAttribute(ckaCountersignEthereumAddress, nil)}
		read, err := s.p.GetAttributeValue(session, key, wanted)
		if err == nil {
			address = string(read[0].Value)
		}
		return err
	})
	return address, err
}

// sign signs under a code; without one it signs what the user approved on his device, and nothing else.
func (s *signer) sign(transaction []byte, code string) (signature []byte, err error) {
	err = s.withKey(func(session pkcs11.SessionHandle, key pkcs11.ObjectHandle) error {
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmCountersignEthereum, nil)}
		if err := s.p.SignInit(session, mechanism, key); err != nil {
			return err
		}
		if code != "" {
			if err := s.p.Login(session, pkcs11.CKU_CONTEXT_SPECIFIC, code); err != nil {
				return err
			}
		}
		signature, err = s.p.Sign(session, transaction)
		return err
	})
	return signature, err
}
