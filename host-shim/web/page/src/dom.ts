/** Builds the page's elements. What comes from outside only ever becomes text. */

type Child = Node | string | null;

/** Attributes; `true` is an attribute without value, `false` none at all. */
type Attributes = Readonly<Record<string, string | boolean>>;

export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    // Handlers and styles never travel as text: the content security policy forbids both.
    if (name.startsWith("on") || name === "style") throw new TypeError(`no attribute ${name}`);
    if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name === "testid" ? "data-testid" : name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag: string, attributes: Readonly<Record<string, string>>, ...children: readonly Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export function button(text: string, attributes: Attributes, onClick: () => void): HTMLButtonElement {
  const element = h("button", { type: "button", ...attributes }, text);
  element.addEventListener("click", onClick);
  return element;
}

/** Replaces what an element holds. */
export function fill(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren(...children.filter((child) => child !== null));
}

/** Tells those who do not see it. */
export function announce(text: string): void {
  const live = document.getElementById("announce");
  if (live !== null) live.textContent = text;
}

/** Runs at once and each second, for as long as the element is on the page. */
export function eachSecond(element: Element, run: () => void): void {
  run();
  const timer = setInterval(() => {
    if (element.isConnected) run();
    else clearInterval(timer);
  }, 1000);
}

/** Keeps a button from being pressed twice while something is under way. */
export async function busy(pressed: HTMLButtonElement, work: () => Promise<void>): Promise<void> {
  if (pressed.getAttribute("aria-busy") === "true") return;
  pressed.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    pressed.removeAttribute("aria-busy");
  }
}
