/**
 * A model's Markdown as elements.
 *
 * What a model writes is not trusted. HTML in it is shown as text, and what marked makes of the rest passes DOMPurify
 * with a short list of allowed tags and attributes. Nothing in an answer can load from another host.
 */

import DOMPurify from "dompurify";
import { Marked, type Token, type TokensList } from "marked";
import { make } from "./dom.js";

const ALLOWED_TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
  "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const ALLOWED_ATTR = ["href", "title", "align", "start"];

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // An answer stands below a heading of the third level.
    heading({ tokens, depth }) {
      const level = Math.min(6, depth + 3);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    html(token) {
      // Models write line breaks this way inside of table cells.
      if (/^<br\s*\/?>$/i.test(token.text.trim())) return "<br>";
      const text = escapeHtml(token.text);
      return "block" in token && token.block ? `<p>${text}</p>` : text;
    },
    // An image would be a request to a host of the model's choice; its description links to it instead.
    image({ href, text }) {
      return `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`;
    },
    checkbox({ checked }) {
      return checked ? "☑ " : "☐ ";
    },
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS,
    ALLOWED_ATTR,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    // DOMPurify holds every other value against the expression for addresses too.
    ADD_URI_SAFE_ATTR: ["align", "start"],
    RETURN_DOM_FRAGMENT: true,
  });
}

/**
 * Each block reads in the direction of its own text; code always from the left. What lies in a list or a quotation takes its
 * direction, for the browser leaves out what has one of its own when it looks for that of the whole.
 */
function setDirections(fragment: DocumentFragment): void {
  for (const block of [...fragment.children, ...fragment.querySelectorAll("td, th")]) block.setAttribute("dir", "auto");
  for (const code of fragment.querySelectorAll("pre, code")) code.setAttribute("dir", "ltr");
}

/** Wide tables and code scroll in a box of their own, which the keyboard can reach. */
function makeScrollable(fragment: DocumentFragment): void {
  for (const table of fragment.querySelectorAll("table")) {
    const box = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" });
    table.replaceWith(box);
    box.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) {
    pre.tabIndex = 0;
    pre.setAttribute("role", "region");
    pre.setAttribute("aria-label", "Code");
  }
}

/**
 * Shows a growing text in an element. Only blocks that changed are made again, so that a long answer stays cheap and a
 * selection in its earlier part survives.
 */
export class MarkdownView {
  private blocks: { raw: string; html: string; element: HTMLElement }[] = [];

  constructor(private readonly root: HTMLElement) {}

  render(text: string, complete: boolean): void {
    const tokens = marked.lexer(text);
    tokens.forEach((token, index) => this.renderBlock(index, token, tokens, complete));
    for (const block of this.blocks.splice(tokens.length)) block.element.remove();
  }

  private renderBlock(index: number, token: Token, tokens: TokensList, complete: boolean): void {
    let block = this.blocks[index];
    // A link's target may be defined further down, so the complete text is looked at once more.
    if (block && block.raw === token.raw && !complete) return;
    const html = marked.parser(Object.assign([token], { links: tokens.links }));
    if (!block) {
      block = { raw: "", html: "", element: make("div", { class: "block" }) };
      this.blocks.push(block);
      this.root.append(block.element);
    }
    block.raw = token.raw;
    if (block.html === html) return;
    block.html = html;
    const fragment = sanitize(html);
    makeScrollable(fragment);
    setDirections(fragment);
    block.element.replaceChildren(fragment);
  }
}
