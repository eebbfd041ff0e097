/** What came of a probe or a hook. */
export interface Outcome {
  passed: boolean
  /** What was asked and what came of it, for people; of a failure only. */
  message?: string
}
