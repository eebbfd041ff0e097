/** What the distribution's packages say of themselves. */
import { run } from './processes.ts'

/** Undefined where it is not installed. */
export async function packageVersion(name: string): Promise<string | undefined> {
  const about = await run(['dpkg-query', '-s', name]).catch(() => '')
  return /^Status: install ok installed$/m.test(about) ? /^Version: (.*)$/m.exec(about)?.[1] : undefined
}

/** Why a peer that comes from these packages cannot take part. */
export async function missingPackages(...names: string[]): Promise<string | undefined> {
  const versions = await Promise.all(names.map(packageVersion))
  const missing = names.filter((_, i) => versions[i] === undefined)
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`
}
