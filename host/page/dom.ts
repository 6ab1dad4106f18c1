/** Elements by few words; text is only written where it differs, so that a second without news costs no layout. */

type Child = Node | string | undefined | false;
type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

function build<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : `${value}`);
  }
  for (const child of children) if (child !== undefined && child !== false) element.append(child);
  return element;
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  return build(document.createElement(tag), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

export function s<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function setClass(node: Element, name: string): void {
  if (node.getAttribute("class") !== name) node.setAttribute("class", name);
}

export function setHidden(node: HTMLElement, hidden: boolean): void {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/** The element of this id, which the page has. */
export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no ${id}`);
  return found as T;
}

/** As many children as asked for, made by `make`, taken away from the end. */
export function sized<T extends Element>(parent: Element, count: number, make: () => T): T[] {
  while (parent.children.length < count) parent.append(make());
  while (parent.children.length > count) parent.lastElementChild!.remove();
  return [...parent.children] as T[];
}

/** A place in rows of cells: previous and next page, and where one is. */
export class Pager {
  page = 0;
  private readonly nav: HTMLElement;
  private readonly size: number;
  private readonly label = h("span", { class: "dim" });
  private readonly back = h("button", { type: "button" }, "Previous");
  private readonly next = h("button", { type: "button" }, "Next");

  constructor(nav: HTMLElement, size: number, moved: () => void) {
    this.nav = nav;
    this.size = size;
    nav.append(this.back, this.label, this.next);
    this.back.addEventListener("click", () => this.move(-1, moved));
    this.next.addEventListener("click", () => this.move(1, moved));
  }

  /** First and last (exclusive) of `count` items that are shown. */
  range(count: number): readonly [from: number, to: number] {
    const pages = Math.max(1, Math.ceil(count / this.size));
    this.page = Math.min(this.page, pages - 1);
    const from = this.page * this.size;
    const to = Math.min(count, from + this.size);
    setHidden(this.nav, pages === 1);
    setText(
      this.label,
      `${(from + 1).toLocaleString("en")} to ${to.toLocaleString("en")} of ${count.toLocaleString("en")}`,
    );
    this.back.disabled = this.page === 0;
    this.next.disabled = this.page === pages - 1;
    return [from, to];
  }

  private move(by: number, moved: () => void): void {
    this.page = Math.max(0, this.page + by);
    moved();
  }
}
