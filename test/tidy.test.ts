/**
 * The style itself, tested: sizes, names, opening comments, import directions, READMEs, links. Every rule runs on the
 * whole checkout, and first on a file that breaks it, so that no rule can fall asleep. The rules are in support/tidy.
 */
import { describe, expect, test } from 'vitest'
import { functionsOf } from './support/tidy/functions.ts'
import { importDirections, importsOf } from './support/tidy/imports.ts'
import { localLinks } from './support/tidy/links.ts'
import * as rules from './support/tidy/rules.ts'
import { readTree } from './support/tidy/tree.ts'

const tree = readTree(`${import.meta.dirname}/..`)
const comment = '/** What it is. */\n'
const lines = (count: number) => 'x()\n'.repeat(count)

interface Example {
  path: string
  text: string
  /** Part of the finding; absent: the file is all right. */
  finding?: string
}

interface RuleTest {
  name: string
  rule: rules.Rule
  examples: Example[]
}

const RULES: RuleTest[] = [
  {
    name: `no file is longer than ${rules.FILE_LINES_MAX} lines`,
    rule: rules.fileSizes,
    examples: [
      { path: 'daemon/long.ts', text: lines(501), finding: '501 lines' },
      { path: 'daemon/nic/addon/long.c', text: lines(501), finding: '501 lines' },
      { path: 'scripts/long', text: `#!/bin/sh\n${lines(500)}`, finding: '501 lines' },
      { path: 'daemon/full.ts', text: lines(500) },
      { path: 'docs/long.md', text: lines(900) },
    ],
  },
  {
    name: `no function is longer than ${rules.FUNCTION_LINES_MAX} lines`,
    rule: rules.functionSizes,
    examples: [
      { path: 'a.ts', text: `function f(): void {\n${lines(69)}}\n`, finding: 'a.ts:1: a function of 71 lines' },
      { path: 'a.ts', text: `function f(): void {\n${lines(68)}}\n` },
      {
        path: 'a.ts',
        text: `class A {\n  async m(x: { a: 1 }): Promise<Map<string, () => void>> {\n${lines(70)}}\n}\n`,
        finding: ':2:',
      },
      { path: 'a.ts', text: `const f = (a: string) => {\n${lines(70)}}\n`, finding: '72 lines' },
      { path: 'a.ts', text: `function f(): { a: string; b: number } {\n${lines(70)}}\n`, finding: '72 lines' },
      { path: 'a.ts', text: `function f(): { a: 1 } {\n}\n\nclass A {\n${'  m(): void {\n  }\n'.repeat(60)}}\n` },
      { path: 'a.ts', text: `class A {\n${'  m(): void {\n  }\n'.repeat(60)}}\n` },
      { path: 'a.ts', text: `const table = {\n${'  a: 1,\n'.repeat(100)}}\n` },
      { path: 'test/a.test.ts', text: `describe('a', () => {\n${lines(100)}})\n` },
      { path: 'a.c', text: `static int f(int a) {\n${'  a++;\n'.repeat(70)}}\n`, finding: '72 lines' },
      {
        path: 'scripts/a',
        text: `#!/bin/bash\nf() {\n${'  true\n'.repeat(70)}}\n`,
        finding: 'scripts/a:2: a function of 72',
      },
    ],
  },
  {
    name: 'every program opens with a comment',
    rule: rules.openingComments,
    examples: [
      { path: 'daemon/a.ts', text: "import x from 'y'\n", finding: 'must open with a comment' },
      { path: 'scripts/a', text: '#!/bin/bash\nset -eu\n', finding: 'must open with a comment' },
      { path: 'a.c', text: '#include <stdio.h>\n', finding: 'must open with a comment' },
      { path: 'Vagrantfile', text: "Vagrant.configure('2')\n", finding: 'must open with a comment' },
      { path: 'scripts/a', text: '#!/bin/bash\n# What it does.\n' },
      { path: 'a.c', text: '/*\n * What it is. */\n' },
    ],
  },
  {
    name: 'nothing is left unfinished',
    rule: rules.nothingUnfinished,
    examples: [
      { path: 'daemon/a.ts', text: `${comment}// ${'TO'}DO: later\n`, finding: 'daemon/a.ts:2:' },
      { path: 'docs/a.md', text: `${'X'}XX\n`, finding: 'docs/a.md:1:' },
      { path: 'a.c', text: `/* ${'FIX'}ME */\n`, finding: 'a.c:1:' },
      { path: 'scripts/a', text: '#!/bin/sh\n# mktemp /tmp/a.XXXXXX\n' },
    ],
  },
  {
    name: 'no test is left out',
    rule: rules.noTestLeftOut,
    examples: [
      { path: 'test/a.test.ts', text: `test.${'only'}('a', f)\n`, finding: 'test/a.test.ts:1:' },
      { path: 'test/a.test.ts', text: `describe.concurrent.${'skip'}('a', f)\n`, finding: 'mend the test' },
      { path: 'test/a.test.ts', text: "test.skipIf(!vagrant)('a', f)\n" },
    ],
  },
  {
    name: 'names are kebab-case and say something',
    rule: rules.fileNames,
    examples: [
      { path: 'daemon/nodeStatus.ts', text: '', finding: 'small letters' },
      { path: 'daemon/Node/a.ts', text: '', finding: 'small letters' },
      { path: 'packet/string_map.ts', text: '', finding: 'small letters' },
      { path: 'daemon/utils.ts', text: '', finding: '"utils" says nothing' },
      { path: 'daemon/cni/cni-helpers.ts', text: '', finding: '"helpers"' },
      { path: 'daemon/pod-manager.ts', text: '', finding: '"manager"' },
      { path: 'daemon/common.ts', text: '', finding: '"common"' },
      { path: 'test/vitest.unit.config.ts', text: '' },
      { path: 'daemon/README.md', text: '' },
      { path: '.ci/run', text: '' },
    ],
  },
  {
    name: `every folder with code has a README of fewer than ${rules.README_LINES_MAX} lines, or its parent has`,
    rule: rules.readmes,
    examples: [
      { path: 'daemon/dns/cache.ts', text: comment, finding: 'daemon/dns/: has code and no README.md' },
      { path: 'daemon/dns/README.md', text: lines(60), finding: 'fewer than 60' },
      { path: 'daemon/dns/README.md', text: lines(59) },
      { path: 'test/daemon/a.test.ts', text: comment },
    ],
  },
  {
    name: 'imports go one way',
    rule: importDirections,
    examples: [
      { path: 'packet/path/a.ts', text: "import { readFileSync } from 'node:fs'\n", finding: 'packet/ knows no Node' },
      {
        path: 'packet/path/a.ts',
        text: "import { PolderError } from '../../daemon/errors.ts'\n",
        finding: 'packet/ may import packet/ only',
      },
      {
        path: 'packet/path/a.ts',
        text: "import type { Config } from '../../daemon/config/config.ts'\n",
        finding: 'packet/ may',
      },
      {
        path: 'daemon/a.ts',
        text: "export { run } from '../cli/main.ts'\n",
        finding: 'daemon/ may import packet/, daemon/ only',
      },
      { path: 'daemon/a.ts', text: "import '../test/support/netns.ts'\n", finding: 'daemon/ may' },
      {
        path: 'daemon/a.ts',
        text: "new Worker(new URL('../scripts/a.ts', import.meta.url))\n",
        finding: 'daemon/ may',
      },
      {
        path: 'cli/a.ts',
        text: "import {\n  Netlink,\n} from '../daemon/netlink/netlink.ts'\n",
        finding: 'at run time only',
      },
      {
        path: 'cli/a.ts',
        text: "const x = await import('../daemon/cluster/folder/folder-store.ts')\n",
        finding: 'at run time only',
      },
      { path: 'cli/a.ts', text: "import { x } from '../test/support/netns.ts'\n", finding: 'cli/ may' },
      { path: 'test/a.ts', text: "import { main } from '../cli/main.ts'\n" },
      { path: 'cli/a.ts', text: "import type { Netlink } from '../daemon/netlink/netlink.ts'\n" },
      { path: 'cli/commands/a.ts', text: "import { PolderError } from '../../daemon/errors.ts'\n" },
      { path: 'daemon/a.ts', text: "import { parse } from '../packet/path/parse.ts'\nimport { pino } from 'pino'\n" },
    ],
  },
  {
    name: 'links lead somewhere',
    rule: localLinks,
    examples: [
      { path: 'docs/a.md', text: 'See [the guide](guide.md).\n', finding: 'docs/a.md:1: links to guide.md' },
      { path: 'a.md', text: '# One\n\n[two](#two)\n', finding: 'a.md has no such heading' },
      { path: 'docs/a.md', text: '[home]: ../gone.md\n', finding: 'links to ../gone.md' },
      {
        path: 'a.md',
        text: '# It is `one`: here\n\n[one](#it-is-one-here), [self](a.md), [web](https://example.org)\n',
      },
      { path: 'a.md', text: '`[no](link.md)`\n\n```\n[no](link.md)\n```\n' },
    ],
  },
  {
    name: 'lines end where their words do',
    rule: rules.rightSpelling,
    examples: [
      { path: 'daemon/a.ts', text: `${comment}x() \n`, finding: 'daemon/a.ts:2:' },
      { path: 'docs/a.md', text: 'a\r\n', finding: 'docs/a.md:1:' },
      { path: 'docs/a.md', text: 'a\n\nb\n' },
    ],
  },
]

describe.each(RULES)('$name', ({ rule, examples }) => {
  for (const { path, text, finding } of examples) {
    test(`${path}: ${finding ?? 'nothing to find'}`, () => {
      const findings = rule([{ path, text }])
      if (finding === undefined) expect(findings).toEqual([])
      else expect(findings.join('\n')).toContain(finding)
    })
  }

  test('holds in the whole checkout', () => {
    expect(rule(tree).join('\n')).toBe('')
  })
})

test('the tree is read whole', () => {
  const paths = tree.map(({ path }) => path)
  for (const path of [
    'packet/path/from-pod.ts',
    'daemon/nic/addon/addon.c',
    'scripts/setup',
    'test/tidy.test.ts',
    'README.md',
  ]) {
    expect(paths).toContain(path)
  }
  expect(paths.filter((path) => path.includes('node_modules'))).toEqual([])
})

test('imports and functions are found whatever stands around them', () => {
  const text = [
    "import { type A, b } from './b.ts'",
    'import type { C } from "./c.ts"',
    "// import x from './no.ts'",
    "const text = `import y from './no.ts' $" + '{[1].map((one) => { return `{$' + '{one}` })}`',
    'const pattern = /[\'"`{]/.test(text) ? 1 / 2 : 3',
    'function f(a: number): asserts a is 1 { if (a) { g() } }',
    "export * from './d.ts'",
  ].join('\n')
  expect(importsOf(text)).toEqual([
    { line: 1, specifier: './b.ts', typeOnly: false },
    { line: 2, specifier: './c.ts', typeOnly: true },
    { line: 7, specifier: './d.ts', typeOnly: false },
  ])
  expect(functionsOf(text, 'typescript')).toEqual([{ line: 6, lines: 1 }])
})
