/** A passkey in software, for tests: what an authenticator and a browser would make together. */

import { randomBytes, sign } from "node:crypto";
import { readRegistration, type PasskeyAsker, type PasskeyRegistrar } from "../src/passkey.js";
import { derToLowS } from "../src/signature.js";
import { newKey, sha256 } from "./p256.js";

export class SoftPasskey {
  readonly key = newKey();
  readonly credentialId = randomBytes(32);

  constructor(
    readonly rpId = "page.example",
    readonly origin = "https://page.example",
    readonly flags = 0x4d,
  ) {}

  #authenticatorData(flags: number): Buffer {
    return Buffer.concat([sha256(Buffer.from(this.rpId)), Buffer.from([flags, 0, 0, 0, 0])]);
  }

  #clientData(type: string, challenge: Uint8Array): Buffer {
    const encoded = Buffer.from(challenge).toString("base64url");
    return Buffer.from(JSON.stringify({ type, challenge: encoded, origin: this.origin, crossOrigin: false }));
  }

  /** Registration: attested credential data with an ES256 key in COSE. */
  registrationData(): Buffer {
    const cose = Buffer.concat([
      Buffer.from("a5010203262001215820", "hex"),
      this.key.point.subarray(1, 33),
      Buffer.from("225820", "hex"),
      this.key.point.subarray(33),
    ]);
    const length = Buffer.from([this.credentialId.length >> 8, this.credentialId.length & 0xff]);
    return Buffer.concat([this.#authenticatorData(this.flags), Buffer.alloc(16), length, this.credentialId, cose]);
  }

  readonly register: PasskeyRegistrar = (challenge) =>
    Promise.resolve(readRegistration(this.#clientData("webauthn.create", challenge), this.registrationData()));

  readonly ask: PasskeyAsker = (challenge) => {
    const clientDataJson = this.#clientData("webauthn.get", challenge);
    const authenticatorData = this.#authenticatorData(0x0d);
    const der = sign("sha256", Buffer.concat([authenticatorData, sha256(clientDataJson)]), this.key.privateKey);
    return Promise.resolve({
      credentialId: new Uint8Array(this.credentialId),
      clientDataJson: new Uint8Array(clientDataJson),
      authenticatorData: new Uint8Array(authenticatorData),
      signature: derToLowS(der),
    });
  };
}
