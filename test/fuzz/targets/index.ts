/** All that is fuzzed, each loaded when it is wanted: coverage must begin before the code is compiled. */
import type { Target } from '../target.ts'

const LOADERS: Record<string, () => Promise<Target>> = {
  formats: async () => (await import('./formats.ts')).formats,
  path: async () => (await import('./path.ts')).path,
  flows: async () => (await import('./flows.ts')).flows,
  netlink: async () => (await import('./netlink.ts')).netlink,
  cni: async () => (await import('./cni.ts')).cni,
  addon: async () => (await import('./addon.ts')).openAddon(),
  shim: async () => (await import('./shim.ts')).openShim(),
  keeper: async () => (await import('./keeper.ts')).openKeeper(),
  http: async () => (await import('./http.ts')).openHttp(),
  manifest: async () => (await import('./manifest.ts')).manifest,
}

export const TARGETS = Object.keys(LOADERS)

export function loadTarget(name: string): Promise<Target> {
  return LOADERS[name]!()
}
