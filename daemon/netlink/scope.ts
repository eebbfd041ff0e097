/** How far an address or a route reaches, in the kernel's words. linux/rtnetlink.h, enum rt_scope_t */

export const SCOPE_NUMBERS = { universe: 0, site: 200, link: 253, host: 254, nowhere: 255 } as const
export type Scope = keyof typeof SCOPE_NUMBERS

/** Numbers in between are a system's own and reach no farther than the site. */
export function scopeOf(number: number): Scope {
  for (const [name, value] of Object.entries(SCOPE_NUMBERS)) if (value === number) return name as Scope
  return 'site'
}
